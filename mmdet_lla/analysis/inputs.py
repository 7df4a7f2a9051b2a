"""Inputs of the analyses: ground truth, detections by name, and the image of each ID."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..datasets.image_paths import ImageLocator
from ..datasets.image_sizes import read_image_size
from ..evaluation.annotations import CrowdAnnotation, CrowdDetections
from ..evaluation.detection_files import UNKNOWN_SIZE, read_detections
from ..utils.files import unique_names
from ..utils.names import parse_named_path

logger = logging.getLogger(__name__)


def name_files(texts: Sequence[str]) -> dict[str, str]:
    """Name each file of ``NAME=FILE`` or ``FILE``; without names, stems and parent directories do.

    Raises:
        ValueError: Two files have the same name.

    Example:
        >>> name_files(['LLA=a/detections.pkl', 'b/detections.pkl', 'c/detections.pkl'])
        {'LLA': 'a/detections.pkl', 'b_detections': 'b/detections.pkl', \
'c_detections': 'c/detections.pkl'}
    """
    parsed = [parse_named_path(text) for text in texts]
    unnamed = iter(unique_names([path for name, path in parsed if name is None]))
    named: dict[str, str] = {}
    for given, path in parsed:
        name = next(unnamed) if given is None else given
        if name in named:
            raise ValueError(f'both {named[name]} and {path} are named {name!r}: use other names')
        named[name] = path
    return named


def read_aligned_detections(
    annotations: Sequence[CrowdAnnotation],
    path: str | Path,
    sizes: Mapping | None = None,
    person: int | None = None,
) -> list[CrowdDetections]:
    """Read detections in the order of the annotations; images without detections get none.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth.
        path (str | Path): File of detections.
        sizes (Mapping, optional): Height and width by image ID, used if the file has none.
        person (int, optional): Class of people in the file; see ``read_detections``.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is invalid, an ID is repeated, or one is not among the annotations.
    """
    by_id: dict = {}
    for one in read_detections(path, sizes, person):
        if one.img_id in by_id:
            raise ValueError(f'{path}: image {one.img_id!r} occurs twice')
        by_id[one.img_id] = one
    known = {annotation.img_id for annotation in annotations}
    unknown = sorted(map(str, by_id.keys() - known))
    if unknown:
        raise ValueError(
            f'{path}: {len(unknown)} of {len(by_id)} images have no annotation, the first is '
            f'{unknown[0]!r}; annotations have IDs such as {next(iter(known), None)!r}'
        )
    if len(by_id) < len(known):
        logger.warning(
            '%s: %d of %d images have no detections', path, len(known) - len(by_id), len(known)
        )

    def create_empty(img_id: str | int) -> CrowdDetections:
        size = (sizes or {}).get(img_id, (UNKNOWN_SIZE, UNKNOWN_SIZE))
        return CrowdDetections.create(img_id, [], [], *size)

    return [by_id.get(one.img_id) or create_empty(one.img_id) for one in annotations]


def find_images(img_ids: Iterable[str | int], directory: str | Path) -> dict[str | int, Path]:
    """Find the image of each ID; see ``ImageLocator``.

    Raises:
        FileNotFoundError: The directory or an image does not exist.
    """
    if not Path(directory).is_dir():
        raise FileNotFoundError(f'image directory not found: {directory}')
    img_ids = list(img_ids)
    paths = ImageLocator(directory).find_all(img_ids)
    return {img_id: Path(path) for img_id, path in zip(img_ids, paths, strict=True)}


def read_image_sizes(
    annotations: Sequence[CrowdAnnotation], directory: str | Path
) -> dict[str | int, tuple[int, int]]:
    """Read height and width of each image by ID, from the image headers.

    Raises:
        OSError: The directory or an image does not exist, or a header cannot be read.
    """
    paths = find_images((one.img_id for one in annotations), directory)
    return {img_id: read_image_size(str(path)) for img_id, path in paths.items()}
