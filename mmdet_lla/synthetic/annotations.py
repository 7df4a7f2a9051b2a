"""CrowdHuman's annotation format, and the statistics it publishes of itself."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..datasets.odgt import iter_lines, parse_line
from ..datasets.text import read_text
from .scene import Annotated, Box


def _xywh(box: Box) -> list[int]:
    x0, y0, x1, y1 = (int(round(v)) for v in box)
    return [x0, y0, max(1, x1 - x0), max(1, y1 - y0)]


def _within(box: list[int], bounds: Sequence[float]) -> list[int]:
    """Move the sides of an x, y, w, h box into x0, y0, x1, y1 bounds, keeping an area."""
    x0 = min(max(box[0], bounds[0]), bounds[2] - 1)
    y0 = min(max(box[1], bounds[1]), bounds[3] - 1)
    x1 = max(min(box[0] + box[2], bounds[2]), x0 + 1)
    y1 = max(min(box[1] + box[3], bounds[3]), y0 + 1)
    return [x0, y0, x1 - x0, y1 - y0]


def to_record(name: str, people: Iterable[Annotated], width: int, height: int) -> dict:
    """A line of an ``.odgt`` file; boxes become whole pixels as x, y, w, h.

    Args:
        name (str): ID of the image.
        people (Iterable[Annotated]): People and ignored regions.
        width (int): Width of the image.
        height (int): Height of the image.
    """
    boxes = []
    for k, one in enumerate(people):
        fbox = _xywh(one.fbox)
        inside = (
            max(fbox[0], 0),
            max(fbox[1], 0),
            min(fbox[0] + fbox[2], width),
            min(fbox[1] + fbox[3], height),
        )
        extra = {'box_id': k, 'occ': int(one.visible < 0.9)}
        head = {'ignore': int(one.ignore), 'occ': int(one.visible < 0.9), 'unsure': 0}
        if one.ignore:
            extra['ignore'] = 1
        boxes.append(
            {
                'tag': one.tag,
                'fbox': fbox,
                'vbox': _within(_xywh(one.vbox), inside),
                'hbox': _xywh(one.hbox),
                'head_attr': head,
                'extra': extra,
            }
        )
    return {'ID': name, 'gtboxes': boxes}


def write_odgt(path: Path, records: Iterable[dict]) -> None:
    """Write an annotation file, one image per line."""
    path.write_text(''.join(json.dumps(r) + '\n' for r in records), encoding='utf-8')


def read_odgt(path: Path) -> list[dict]:
    """Read an annotation file."""
    return [parse_line(line) for _, line in iter_lines(read_text(str(path)))]


def people_of(record: dict) -> np.ndarray:
    """Full boxes of the people of a record who are not ignored, ``(n, 4)`` as x0, y0, x1, y1."""
    boxes = np.array(
        [
            b['fbox']
            for b in record['gtboxes']
            if b['tag'] == 'person' and not b.get('extra', {}).get('ignore', 0)
        ],
        dtype=float,
    ).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def pairwise_iou(boxes: np.ndarray) -> np.ndarray:
    """IoU of every two boxes, ``(n, n)``."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), -1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], -1)
    return both / (area[:, None] + area[None] - both)


def statistics(records: Sequence[dict]) -> dict[str, object]:
    """What CrowdHuman publishes of itself, and the heights of the boxes.

    Returns:
        dict: ``images``; means per image of ``people``, ``ignored``, and pairs of full boxes
            with an IoU over 0.3 to 0.6, ``pairs_0.3`` and so on; ``heights``, the 0, 5, 25, 50,
            75, 95 and 100 % points of body heights in pixels; ``visible``, the mean share of
            visible box in full box.
    """
    if not records:
        raise ValueError('statistics need at least one image')
    boxes = [people_of(r) for r in records]
    people = sum(map(len, boxes))
    result: dict[str, object] = {
        'images': len(records),
        'people': people / len(records),
        'ignored': sum(len(r['gtboxes']) for r in records) / len(records) - people / len(records),
    }
    over = np.concatenate([pairwise_iou(b)[np.triu_indices(len(b), 1)] for b in boxes])
    for level in (0.3, 0.4, 0.5, 0.6):
        result[f'pairs_{level}'] = float((over > level).sum() / len(records))
    heights = np.concatenate([b[:, 3] - b[:, 1] for b in boxes])
    points = np.percentile(heights, (0, 5, 25, 50, 75, 95, 100)) if people else []
    result['heights'] = [float(p) for p in points]
    shares = [
        b['vbox'][2] * b['vbox'][3] / (b['fbox'][2] * b['fbox'][3])
        for r in records
        for b in r['gtboxes']
        if b['tag'] == 'person' and not b['extra'].get('ignore')
    ]
    result['visible'] = float(np.mean(shares)) if shares else 0.0
    return result


def sizes(records: Iterable[dict], width: int, height: int) -> dict[str, tuple[int, int]]:
    """The ``id_hw_*.json`` that mmdet's reader looks for: height and width by ID."""
    return {r['ID']: (height, width) for r in records}
