"""Export a detector to files that run without torch and mmdet."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.config import Config

from ..inference.model import TorchDetector
from ..runtime import read_image
from ..runtime.images import SizeRule
from ..runtime.metadata import Metadata
from ..version import __version__
from .files import write_int8, write_onnx, write_openvino
from .graph import DetectorGraph
from .sizes import read_size_rule
from .verify import list_test_images

#: Images that int8 is calibrated with.
CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path (Path): ``.onnx`` or ``.xml``.
        precision (str): 'float32' or 'int8'.
    """

    path: Path
    precision: str


def list_export_paths(path: Path, openvino: bool = False, int8: bool = False) -> list[Path]:
    """Return all files that an export writes.

    Example:
        >>> [one.name for one in list_export_paths(Path('a.onnx'), openvino=True)]
        ['a.onnx', 'a.xml', 'a.bin']
    """
    stems = [path, path.with_suffix('.int8.onnx')] if int8 else [path]
    suffixes = ('.onnx', '.xml', '.bin') if openvino else ('.onnx',)
    return [stem.with_suffix(suffix) for stem in stems for suffix in suffixes]


def export_detector(
    detector: TorchDetector,
    path: Path,
    openvino: bool = False,
    int8: bool = False,
    calibration: int = CALIBRATION_IMAGES,
    rgb: bool = False,
    tests: Config | None = None,
) -> list[Exported]:
    """Write a detector as ONNX, optionally also as OpenVINO IR and in int8.

    The files appear under their names when all of them are complete.

    Args:
        detector (TorchDetector): On the CPU; it is not changed.
        path (Path): Of the ONNX file; the others get its name.
        openvino (bool): Whether to write OpenVINO IR of every file, too. Defaults to False.
        int8 (bool): Whether to write it in int8, too. Defaults to False.
        calibration (int): Images of the test set that int8 is calibrated with. Defaults to 64.
        rgb (bool): Whether the files take RGB images, for those who run them without
            ``mmdet_lla.runtime``, which gives them BGR. Defaults to False.
        tests (Config, optional): Has the test set for int8; images are prepared as the detector
            does. Defaults to the detector's config.

    Returns:
        list[Exported]: The written files.

    Raises:
        ValueError: The detector cannot be exported; the message says why.
        OSError: The files cannot be written; then none is left behind.

    Example:
        >>> from mmdet_lla.inference import load_detector
        >>> export_detector(load_detector('lla-s'), Path('lla-s.onnx'))  # doctest: +SKIP
        [Exported(path=PosixPath('lla-s.onnx'), precision='float32')]
    """
    if path.suffix != '.onnx':
        raise ValueError(f'the exported file must end in .onnx, got {path}')
    rule = read_size_rule(detector.cfg)
    model = copy.deepcopy(detector.model).to(memory_format=torch.contiguous_format)
    graph = DetectorGraph(model, rgb)
    metadata = Metadata(
        classes=detector.classes,
        size_rule=rule,
        threshold=detector.threshold,
        metrics=detector.metrics,
        model=detector.name,
        version=__version__,
        rgb=rgb,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f'.{path.stem}-') as scratch:
        onnx_file = Path(scratch, path.name)
        write_onnx(graph, onnx_file, metadata)
        files = {onnx_file: metadata}
        if int8:
            int8_file = onnx_file.with_suffix('.int8.onnx')
            files[int8_file] = replace(metadata, precision='int8')
            batches = _prepare(list_test_images(tests or detector.cfg, calibration), rule, rgb)
            write_int8(onnx_file, int8_file, files[int8_file], graph, batches)
        if openvino:
            for file, own in list(files.items()):
                files[file.with_suffix('.xml')] = own
                write_openvino(file, file.with_suffix('.xml'), own)
        for one in list_export_paths(path, openvino, int8):
            os.replace(Path(scratch, one.name), one)
    return [Exported(path.parent / file.name, own.precision) for file, own in files.items()]


def _prepare(infos: list[dict], rule: SizeRule, rgb: bool) -> Iterator[np.ndarray]:
    for info in infos:
        image, _ = rule.apply(read_image(info['img_path']))
        yield np.ascontiguousarray(image[..., ::-1] if rgb else image)[None]
