"""Files that an analysis reads and writes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ...compat import mmengine_log_allowed
from ...datasets.image_sizes import read_image_size
from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ...evaluation.detection_files import UNKNOWN_SIZE, read_detections

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def split_name(text: str) -> tuple[str, str]:
    """Name and path of ``NAME=FILE`` or of ``FILE``, which is called by its folder and stem."""
    match = None if os.path.isfile(text) else re.fullmatch(r'([^=/\\]+)=(.+)', text)
    return (match[1], match[2]) if match else (Path(text).stem, text)


def beside(
    annotations: Sequence[CrowdAnnotation], path: str, sizes: Mapping | None = None
) -> list[CrowdDetections]:
    """Detections of a file in the order of the annotations; none where a picture has none.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth.
        path (str): The file.
        sizes (Mapping, optional): Height and width of pictures by ID, where the file has none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is broken, a picture comes twice, or one is not among the annotations.
    """
    found: dict = {}
    for one in read_detections(path, sizes):
        if one.img_id in found:
            raise ValueError(f'{path}: picture {one.img_id!r} comes twice')
        found[one.img_id] = one
    known = {annotation.img_id for annotation in annotations}
    strangers = sorted(map(str, found.keys() - known))
    if strangers:
        raise ValueError(
            f'{path}: {len(strangers)} of {len(found)} pictures have no annotation, the first is '
            f'{strangers[0]!r}; annotations have IDs such as {next(iter(known), None)!r}'
        )
    missing = len(known) - len(found)
    if missing:
        print(f'{path}: {missing} of {len(known)} pictures have no detection')
    unknown = (UNKNOWN_SIZE, UNKNOWN_SIZE)
    return [
        found[one.img_id]
        if one.img_id in found
        else CrowdDetections.create(one.img_id, [], [], *(sizes or {}).get(one.img_id, unknown))
        for one in annotations
    ]


def sizes_of(
    annotations: Sequence[CrowdAnnotation], folder: Path
) -> dict[str | int, tuple[int, int]]:
    """Height and width of each picture by ID, from the pictures' headers.

    Raises:
        FileNotFoundError: There is no such folder, or a picture is not in it.
        ImageReadError: A header cannot be read.
    """
    find = picture_finder(folder)
    return {one.img_id: read_image_size(str(find(one.img_id))) for one in annotations}


def picture_finder(folder: Path) -> Callable[[str | int], Path]:
    """Finds pictures of a folder by ID, whatever they end in.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'no folder {folder} here')

    def find(img_id: str | int) -> Path:
        for suffix in SUFFIXES:
            path = folder / f'{img_id}{suffix}'
            if path.is_file():
                return path
        raise FileNotFoundError(f'no picture {img_id} in {folder}, ending in one of {SUFFIXES}')

    return find


def write_threshold(path: Path, threshold: float) -> None:
    """Keep a score threshold in a checkpoint, as ``tools/publish.py`` does.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint {path} here')
    with mmengine_log_allowed():
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    checkpoint.setdefault('meta', {})['score_threshold'] = threshold
    part = path.with_name(path.name + '.part')
    torch.save(checkpoint, part)
    os.replace(part, path)
