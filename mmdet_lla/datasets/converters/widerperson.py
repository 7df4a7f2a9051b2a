"""WiderPerson.

``Annotations/<image>.jpg.txt``: the number of boxes, then one line per box: class, x1, y1, x2, y2.
Classes: 1 pedestrian, 2 rider, 3 partially visible person, 4 ignore region, 5 crowd. ``train.txt``
and ``val.txt`` list the images of a split.
Source: http://www.cbsr.ia.ac.cn/users/sfzhang/WiderPerson, arXiv 1909.12118.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator

from ..image_paths import to_img_id
from ..image_sizes import read_image_size
from ..odgt import is_box, make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError, read_text
from .writing import make_valid_record

_PEOPLE = (1, 2, 3)
_IGNORED = (4, 5)


def widerperson_records(
    root: str, split: str, report: ConversionReport | None = None
) -> Iterator[dict]:
    """Yield the records of one split; classes 4 and 5 become ignore regions.

    Args:
        root: Directory with ``Annotations`` and the lists of images; with ``Images`` too, people
            outside of their image are rejected.
        split: 'train' or 'val'.
        report: Receives invalid lines; by default the first such line raises.

    Raises:
        FileNotFoundError: The list or an annotation file does not exist.
        AnnotationError: A file cannot be read, or a strict report raises; names file and line.
    """
    report = report or StrictReport()
    path = osp.join(root, f'{split}.txt')
    names = read_text(path).split()
    if not names:
        raise AnnotationError(f'{path} is empty, names of images were expected')
    for name in names:
        name = to_img_id(name)
        boxes, places = _read_boxes(osp.join(root, 'Annotations', f'{name}.jpg.txt'), report)
        image = osp.join(root, 'Images', f'{name}.jpg')
        size = read_image_size(image) if osp.isfile(image) else None
        yield make_valid_record(name, boxes, places, size, report)


def _read_boxes(path: str, report: ConversionReport) -> tuple[list[dict], list[str]]:
    """Return the annotations of an image and their positions in the file."""
    announced, *lines = read_text(path).strip().split('\n')
    if not announced.strip().isdecimal():
        raise AnnotationError(
            f'{path}, line 1: the number of boxes was expected, got {announced.strip()!r:.50}'
        )
    boxes, places = [], []
    for number, line in enumerate(lines, 2):
        report.read += 1
        place = f'{path}, line {number}'
        try:
            boxes.append(_parse_line(line))
            places.append(place)
        except ValueError as error:
            report.reject(place, str(error))
    missing = int(announced) - len(lines)
    if missing:
        report.read += max(missing, 0)
        report.reject(
            path,
            f'{announced.strip()} boxes announced, {len(lines)} found',
            kind='cut off' if missing > 0 else 'malformed',
            records=max(missing, 0),
        )
    return boxes, places


def _parse_line(line: str) -> dict:
    kind, x1, y1, x2, y2 = (float(value) for value in line.split())
    if kind not in _PEOPLE + _IGNORED:
        raise ValueError(f'class must be 1 to 5, got {kind:g}')
    box = [x1, y1, x2 - x1, y2 - y1]
    if not is_box(box):
        raise ValueError(f'x1, y1, x2, y2 must be finite numbers, got {line.strip()}')
    return make_annotation(box, ignore=kind in _IGNORED)
