"""MOTChallenge sequences (MOT15, MOT16, MOT17, MOT20).

A sequence is a folder with ``seqinfo.ini``, ``gt/gt.txt`` and the pictures. Lines of ``gt.txt``:
frame, track, x, y, w, h, whether to consider it, class, visibility; in MOT15 the last columns are
world coordinates instead. Frames and coordinates count from 1.
Source: https://motchallenge.net/instructions, arXiv 1603.00831.
"""

from __future__ import annotations

import configparser
import csv
import os.path as osp
from collections import defaultdict
from collections.abc import Iterator

from ..odgt import make_annotation

_PEDESTRIAN = 1
# Neither counted nor punished by the benchmark: person on vehicle, static person, distractor,
# reflection; and crowd, which MOT20 adds.
_IGNORED = (2, 7, 8, 12, 13)
_COLUMNS_WITH_CLASS = 9


def mot_records(
    sequence: str, root: str | None = None, every: int = 1, min_visibility: float = 0.0
) -> Iterator[dict]:
    """Records of one sequence.

    Pedestrians become people; pedestrians not to be considered, people on vehicles, static
    people, distractors, reflections and crowds become ignore regions; vehicles and occluders are
    left out. The visible share is kept as ``extra.visibility``: where the visible part lies is not
    annotated, so ``vbox`` repeats ``fbox``.

    Args:
        sequence: The sequence's folder.
        root: Folder that IDs start from, to be used as ``data_prefix``; the sequence's parent if
            None.
        every: Take every n-th frame, the first included.
        min_visibility: Pedestrians of whom less is seen become ignore regions.

    Raises:
        FileNotFoundError: No ``seqinfo.ini`` or ``gt/gt.txt``.
        ValueError: A line cannot be read; says which.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    info = _sequence_info(sequence)
    boxes = _read_boxes(osp.join(sequence, 'gt', 'gt.txt'), min_visibility)
    root = osp.dirname(osp.abspath(sequence)) if root is None else root
    folder = osp.relpath(osp.abspath(osp.join(sequence, info['imDir'])), root)
    extension = info['imExt']
    for frame in range(1, int(info['seqLength']) + 1, every):
        # mmdet's own reader adds .jpg to every ID.
        name = osp.join(folder, f'{frame:06d}{extension}').removesuffix('.jpg')
        yield {'ID': name, 'gtboxes': boxes.get(frame, [])}


def _sequence_info(sequence: str) -> configparser.SectionProxy:
    path = osp.join(sequence, 'seqinfo.ini')
    parser = configparser.ConfigParser()
    if not parser.read(path):
        raise FileNotFoundError(f'{path} is not there; is this a MOTChallenge sequence?')
    return parser['Sequence']


def _read_boxes(path: str, min_visibility: float) -> dict[int, list[dict]]:
    """Annotations by frame."""
    boxes = defaultdict(list)
    with open(path, newline='') as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row:
                continue
            try:
                frame, _, x, y, w, h, considered = (float(value) for value in row[:7])
                has_class = len(row) == _COLUMNS_WITH_CLASS
                kind = int(row[7]) if has_class else _PEDESTRIAN
                visibility = float(row[8]) if has_class else 1.0
            except ValueError as error:
                raise ValueError(f'{path}, line {number}: {error}') from error
            if kind != _PEDESTRIAN and kind not in _IGNORED:
                continue
            ignore = kind != _PEDESTRIAN or considered == 0 or visibility < min_visibility
            annotation = make_annotation((x - 1, y - 1, w, h), ignore=ignore)
            annotation['extra']['visibility'] = visibility
            boxes[int(frame)].append(annotation)
    return boxes
