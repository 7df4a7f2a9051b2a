"""Caltech Pedestrians: the published ``.vbb`` files, which are MAT files.

``A.objLists`` has a cell a frame with objects: ``id`` (into ``A.objLbl``), ``pos`` (x, y, w, h,
from 1), ``occl``, and ``posv``, the visible part where ``occl``. Labels: person, people (a group),
person? (unclear), person-fa (false alarm).
Source: vbb.m of https://github.com/pdollar/toolbox; Dollar et al., TPAMI 2012.
"""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator

import numpy as np
from scipy.io import loadmat

from ..odgt import make_annotation

_PERSON = 'person'
_IGNORED = ('people', 'person?')


def caltech_records(
    annotations: str, every: int = 30, pattern: str = '{set}_{video}_I{frame:05d}'
) -> Iterator[dict]:
    """Records of all videos; groups and unclear cases become ignore regions, false alarms nothing.

    Args:
        annotations: Folder with ``set00/V000.vbb`` and so on.
        every: Take the last of every n frames (30 is the standard test set: frames 29, 59, ...
            from 0).
        pattern: Name of a frame's picture, without extension; the default is what the benchmark's
            own ``dbExtract`` writes.

    Raises:
        FileNotFoundError: There are no ``.vbb`` files.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    paths = sorted(glob.glob(osp.join(annotations, 'set*', '*.vbb')))
    if not paths:
        raise FileNotFoundError(f'no set*/*.vbb under {annotations}')
    for path in paths:
        folder, video = osp.split(osp.splitext(path)[0])
        frames = _read_vbb(path)
        for frame in range(every - 1, len(frames), every):
            name = pattern.format(set=osp.basename(folder), video=video, frame=frame)
            yield {'ID': name, 'gtboxes': frames[frame]}


def _read_vbb(path: str) -> list[list[dict]]:
    """Annotations of every frame of one video."""
    content = loadmat(path, squeeze_me=True, struct_as_record=False)['A']
    labels = [str(label) for label in np.atleast_1d(content.objLbl)]
    frames = []
    for objects in np.atleast_1d(content.objLists):
        boxes = []
        for item in np.atleast_1d(objects):
            label = labels[int(item.id) - 1]
            if label != _PERSON and label not in _IGNORED:
                continue
            body = np.asarray(item.pos, dtype=float)
            visible = np.asarray(item.posv, dtype=float)
            if not item.occl or visible.size != 4 or not visible[2:].all():
                visible = body
            offset = np.array([1, 1, 0, 0])
            boxes.append(make_annotation(body - offset, visible - offset, ignore=label in _IGNORED))
        frames.append(boxes)
    return frames
