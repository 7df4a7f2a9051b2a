"""WiderPerson.

``Annotations/<picture>.jpg.txt``: the number of boxes, then a line each: class, x1, y1, x2, y2.
Classes: 1 pedestrian, 2 rider, 3 partially visible person, 4 ignore region, 5 crowd. ``train.txt``
and ``val.txt`` list the pictures of a split.
Source: http://www.cbsr.ia.ac.cn/users/sfzhang/WiderPerson, arXiv 1909.12118.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator

from ..odgt import make_annotation

_PEOPLE = (1, 2, 3)
_IGNORED = (4, 5)


def widerperson_records(root: str, split: str) -> Iterator[dict]:
    """Records of one split; ignore regions and crowds become ignore regions.

    Args:
        root: Folder with ``Annotations`` and the lists of pictures.
        split: 'train' or 'val'.

    Raises:
        FileNotFoundError: The list or an annotation is missing.
        ValueError: An annotation cannot be read; says which file and line.
    """
    with open(osp.join(root, f'{split}.txt')) as file:
        names = file.read().split()
    for name in names:
        path = osp.join(root, 'Annotations', f'{name}.jpg.txt')
        yield {'ID': name, 'gtboxes': _read_boxes(path)}


def _read_boxes(path: str) -> list[dict]:
    with open(path) as file:
        lines = file.read().strip().split('\n')
    boxes = []
    for number, line in enumerate(lines[1:], 2):
        try:
            kind, x1, y1, x2, y2 = (float(value) for value in line.split())
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {error}') from error
        if kind not in _PEOPLE + _IGNORED:
            raise ValueError(f'{path}, line {number}: class must be 1 to 5, got {kind:g}')
        boxes.append(make_annotation((x1, y1, x2 - x1, y2 - y1), ignore=kind in _IGNORED))
    if len(boxes) != int(lines[0]):
        raise ValueError(f'{path}: {lines[0]} boxes announced, {len(boxes)} found')
    return boxes
