"""Crops of the worst errors of each kind."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ..ablation.plots import data_uri
from .kinds import FALSE_ALARMS, MISSES, Errors

RED, GREEN, GRAY = (214, 39, 40), (0, 158, 115), (150, 150, 150)
SIDE = 320  # of a crop, in pixels


def worst(
    errors: Errors,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    find_picture: Callable[[str | int], Path],
    number: int = 6,
) -> dict[str, list[tuple[str, str]]]:
    """Address and caption of the worst of each kind, cut to the people concerned.

    Args:
        errors (Errors): Of the detections.
        annotations (Sequence[CrowdAnnotation]): Ground truth.
        detections (Sequence[CrowdDetections]): Of the same pictures in the same order.
        find_picture (Callable): Path of a picture by its ID.
        number (int): Of each kind. Defaults to 6.
    """
    pairs = errors.pairs
    dets = np.concatenate([np.zeros((0, 4)), *(d.boxes for d in detections)])
    people = np.concatenate([np.zeros((0, 4)), *(a.boxes[~a.ignored] for a in annotations)])
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, name in enumerate(FALSE_ALARMS):
        some = np.flatnonzero((errors.alarm == kind) & (pairs.det_score >= errors.score_thr))
        some = some[np.argsort(-pairs.det_score[some], kind='stable')][:number]
        found[name] = [
            _crop(
                find_picture(pairs.img_ids[pairs.det_picture[i]]),
                dets[i],
                people[errors.alarm_gt[i]] if errors.alarm_gt[i] >= 0 else None,
                people[pairs.gt_picture == pairs.det_picture[i]],
                f'score {pairs.det_score[i]:.2f}, picture {pairs.img_ids[pairs.det_picture[i]]}',
            )
            for i in some
        ]
    height = people[:, 3] - people[:, 1]
    for kind, name in enumerate(MISSES):
        some = np.flatnonzero(errors.miss == kind)
        some = some[np.argsort(-height[some], kind='stable')][:number]
        found[name] = [
            _crop(
                find_picture(pairs.img_ids[pairs.gt_picture[i]]),
                None,
                people[i],
                people[pairs.gt_picture == pairs.gt_picture[i]],
                f'{height[i]:.0f} px tall, picture {pairs.img_ids[pairs.gt_picture[i]]}',
            )
            for i in some
        ]
    return found


def most_costly(errors: Errors, number: int = 10) -> list[tuple[str | int, int, int]]:
    """Pictures with the most errors: ID, false alarms that are shown, misses."""
    pairs = errors.pairs
    shown = (errors.alarm >= 0) & (pairs.det_score >= errors.score_thr)
    alarms = np.bincount(pairs.det_picture[shown], minlength=pairs.num_pictures)
    misses = np.bincount(pairs.gt_picture[errors.miss >= 0], minlength=pairs.num_pictures)
    order = np.argsort(-(alarms + misses), kind='stable')[:number]
    return [(pairs.img_ids[i], int(alarms[i]), int(misses[i])) for i in order]


def _crop(
    path: Path,
    detection: np.ndarray | None,
    person: np.ndarray | None,
    others: np.ndarray,
    caption: str,
) -> tuple[str, str]:
    boxes = np.array([box for box in (detection, person) if box is not None])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = 0.3 * (high - low).max() + 4
    with Image.open(path) as file:
        image = file.convert('RGB')
        area = [*np.maximum(low - margin, 0), *np.minimum(high + margin, image.size)]
        area = [round(value) for value in area]
        area[2:] = [max(far, near + 1) for near, far in zip(area[:2], area[2:], strict=True)]
        scale = SIDE / max(area[2] - area[0], area[3] - area[1])
        size = [max(round((area[i + 2] - area[i]) * scale), 1) for i in (0, 1)]
        image = image.crop(tuple(area)).resize(size)
    draw = ImageDraw.Draw(image)
    for box, color, width in [
        *((other, GRAY, 1) for other in others),
        *([(person, GREEN, 3)] if person is not None else []),
        *([(detection, RED, 3)] if detection is not None else []),
    ]:
        corners = (np.reshape(box, (2, 2)) - area[:2]) * scale
        draw.rectangle(
            [*corners[0], *np.maximum(corners[1], corners[0])], outline=color, width=width
        )
    jpeg = io.BytesIO()
    image.save(jpeg, 'JPEG', quality=85)
    return data_uri(jpeg.getvalue(), 'image/jpeg'), caption
