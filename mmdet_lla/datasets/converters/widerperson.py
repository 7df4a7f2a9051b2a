"""WiderPerson.

``Annotations/<picture>.jpg.txt``: the number of boxes, then a line each: class, x1, y1, x2, y2.
Classes: 1 pedestrian, 2 rider, 3 partially visible person, 4 ignore region, 5 crowd. ``train.txt``
and ``val.txt`` list the pictures of a split.
Source: http://www.cbsr.ia.ac.cn/users/sfzhang/WiderPerson, arXiv 1909.12118.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator

from ..image_sizes import picture_size
from ..odgt import is_box, make_annotation
from ..tally import StrictTally, Tally
from ..text import AnnotationError, read_text
from .writing import sound_record

_PEOPLE = (1, 2, 3)
_IGNORED = (4, 5)


def widerperson_records(root: str, split: str, tally: Tally | None = None) -> Iterator[dict]:
    """Records of one split; ignore regions and crowds become ignore regions.

    Args:
        root: Folder with ``Annotations`` and the lists of pictures; with ``Images`` too, people
            outside of their picture are found.
        split: 'train' or 'val'.
        tally: Is told which lines cannot be used; by default the first such line is an error.

    Raises:
        FileNotFoundError: The list or an annotation is missing.
        AnnotationError: A file cannot be read, or what a strict tally raises; says which file and
            line.
    """
    tally = tally or StrictTally()
    path = osp.join(root, f'{split}.txt')
    names = read_text(path).split()
    if not names:
        raise AnnotationError(f'{path} is empty, names of pictures were expected')
    for name in names:
        name = name.removesuffix('.jpg')
        rows = _read_boxes(osp.join(root, 'Annotations', f'{name}.jpg.txt'), tally)
        picture = osp.join(root, 'Images', f'{name}.jpg')
        size = picture_size(picture) if osp.isfile(picture) else None
        yield sound_record(
            name, [box for _, box in rows], [place for place, _ in rows], size, tally
        )


def _read_boxes(path: str, tally: Tally) -> list[tuple[str, dict]]:
    """Places and annotations of a picture."""
    lines = read_text(path).strip().split('\n')
    announced = lines[0].strip()
    if not announced.isdecimal():
        raise AnnotationError(
            f'{path}, line 1: the number of boxes was expected, got {announced!r:.50}'
        )
    boxes = []
    for number, line in enumerate(lines[1:], 2):
        tally.read += 1
        place = f'{path}, line {number}'
        try:
            boxes.append((place, _annotation(line)))
        except ValueError as error:
            tally.lose(place, str(error))
    missing = int(announced) - (len(lines) - 1)
    if missing:
        tally.read += max(missing, 0)
        tally.lose(
            path,
            f'{announced} boxes announced, {len(lines) - 1} found',
            kind='cut off' if missing > 0 else 'malformed',
            records=max(missing, 0),
        )
    return boxes


def _annotation(line: str) -> dict:
    kind, x1, y1, x2, y2 = (float(value) for value in line.split())
    if kind not in _PEOPLE + _IGNORED:
        raise ValueError(f'class must be 1 to 5, got {kind:g}')
    box = [x1, y1, x2 - x1, y2 - y1]
    if not is_box(box):
        raise ValueError(f'x1, y1, x2, y2 must be finite numbers, got {line.strip()}')
    return make_annotation(box, ignore=kind in _IGNORED)
