"""Caltech Pedestrians: the published ``.vbb`` files, which are MAT files.

``A.objLists`` has one cell per frame with objects: ``id`` (into ``A.objLbl``), ``pos`` (x, y, w, h,
from 1), ``occl``, and ``posv``, the visible part where ``occl``. Labels: person, people (a group),
person? (unclear), person-fa (false alarm).
Source: vbb.m of https://github.com/pdollar/toolbox; Dollar et al., TPAMI 2012.
"""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator, Sequence

import numpy as np

from ..mat import read_mat
from ..odgt import make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError, read_bytes
from .writing import make_valid_record

_PERSON = 'person'
_IGNORED = ('people', 'person?')
_SIZE = (480, 640)  # of every image


def caltech_records(
    annotations: str,
    every: int = 30,
    pattern: str = '{set}_{video}_I{frame:05d}',
    report: ConversionReport | None = None,
) -> Iterator[dict]:
    """Yield the records of all videos; groups and unclear cases become ignore regions.

    Args:
        annotations: Directory with ``set00/V000.vbb`` and so on.
        every: Take the last of every n frames (30 is the standard test set: frames 29, 59, ...
            from 0).
        pattern: Name of a frame's image, without extension; the default is what the benchmark's
            own ``dbExtract`` writes.
        report: Receives skipped and invalid objects; by default the first invalid one raises.

    Raises:
        FileNotFoundError: There are no ``.vbb`` files.
        AnnotationError: One cannot be read, or a strict report raises.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    report = report or StrictReport()
    paths = sorted(glob.glob(osp.join(glob.escape(annotations), 'set*', '*.vbb')))
    if not paths:
        raise FileNotFoundError(f'no set*/*.vbb in {annotations}')
    for path in paths:
        directory, video = osp.split(osp.splitext(path)[0])
        frames, labels = _read_vbb(path)
        for frame, objects in enumerate(frames):
            report.read += len(objects)
            if frame % every != every - 1:
                report.skip(f'in frames that are not taken (1 of {every} is)', len(objects))
                continue
            img_id = pattern.format(set=osp.basename(directory), video=video, frame=frame)
            boxes, places = [], []
            for index, item in enumerate(objects):
                place = f'{path}, frame {frame}, object {index}'
                try:
                    label = _get_label(item, labels)
                    if label == _PERSON or label in _IGNORED:
                        boxes.append(_make_annotation(item, label in _IGNORED))
                        places.append(place)
                    else:
                        report.skip(f'labelled {label}')
                except (AttributeError, TypeError, ValueError) as error:
                    report.reject(place, str(error))
            yield make_valid_record(img_id, boxes, places, _SIZE, report)


def _read_vbb(path: str) -> tuple[list[np.ndarray], list[str]]:
    """Return the objects of every frame of one video, and the labels of its tracks."""
    content = read_mat(read_bytes(path), path).get('A')
    fields = getattr(content, '_fieldnames', [])
    if not {'objLists', 'objLbl'} <= set(fields):
        raise AnnotationError(
            f'{path}: a struct A with objLists and objLbl was expected, found {list(fields)}'
        )
    frames = [np.atleast_1d(objects) for objects in np.atleast_1d(content.objLists)]
    return frames, [str(label) for label in np.atleast_1d(content.objLbl)]


def _get_label(item: object, labels: Sequence[str]) -> str:
    number = float(item.id)
    if not number.is_integer() or not 0 < number <= len(labels):
        raise ValueError(f'id must be one of 1 to {len(labels)}, got {number:g}')
    return labels[int(number) - 1]


def _make_annotation(item: object, ignore: bool) -> dict:
    body = np.asarray(item.pos, dtype=float)
    if body.shape != (4,) or not np.isfinite(body).all():
        raise ValueError(f'pos must be four finite numbers x, y, w, h, got {body.tolist()}')
    visible = np.asarray(item.posv, dtype=float)
    if not item.occl or visible.size != 4 or not visible[2:].all():
        visible = body
    offset = np.array([1, 1, 0, 0])
    return make_annotation(body - offset, visible - offset, ignore=ignore)
