"""Read MAT files, in which some data sets are published."""

from __future__ import annotations

import io

from scipy.io import loadmat

from .text import AnnotationError


def read_mat(content: bytes, where: str) -> dict:
    """Return the variables of a MAT file.

    Raises:
        AnnotationError: It is no MAT file, damaged, or of MATLAB's version 7.3, which is HDF5.
    """
    try:
        return loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)
    except Exception as error:  # damaged files raise exceptions of any kind
        text = str(error) or type(error).__name__
        raise AnnotationError(f'{where} is no MAT file that can be read: {text}') from error
