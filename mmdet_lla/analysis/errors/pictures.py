"""Crops of the worst errors of each kind, and the pictures with the most errors."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ..drawing import FALSE_ALARM, HIT, IGNORED, MISS, draw_boxes
from ..figures import data_uri
from .kinds import FALSE_ALARMS, MISSES, Errors

RED, GREEN, GRAY = (214, 39, 40), (0, 158, 115), (150, 150, 150)
SIDE = 320  # of a crop, in pixels
WHOLE = 800  # of a whole picture, at most


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


@dataclass(frozen=True)
class CostlyPicture:
    """What goes wrong in one picture.

    Attributes:
        place (int): Of the picture among all.
        img_id (str | int): Its ID.
        people (int): To be found.
        shown (int): Detections of at least the score threshold that no ignore region excuses.
        counts (dict[str, int]): Errors of each kind that it has, false alarms first.
    """

    place: int
    img_id: str | int
    people: int
    shown: int
    counts: dict[str, int]


def most_costly(errors: Errors, number: int = 10) -> list[CostlyPicture]:
    """Pictures with the most errors, false alarms that are shown and misses; none without any."""
    pairs = errors.pairs
    shown = pairs.det_score >= errors.score_thr
    alarm = np.where(shown, errors.alarm, -1)
    total = _per_picture(pairs.det_picture[alarm >= 0], errors)
    total += _per_picture(pairs.gt_picture[errors.miss >= 0], errors)
    order = np.argsort(-total, kind='stable')[:number]
    people = _per_picture(pairs.gt_picture, errors)
    right = errors.found_by[errors.found_by >= 0]
    counted = alarm >= 0
    counted[right] = shown[right]
    seen = _per_picture(pairs.det_picture[counted], errors)
    found = []
    for place in order[total[order] > 0].tolist():
        kinds = {
            name: int(((kind == i) & (picture == place)).sum())
            for kind, picture, names in (
                (alarm, pairs.det_picture, FALSE_ALARMS),
                (errors.miss, pairs.gt_picture, MISSES),
            )
            for i, name in enumerate(names)
        }
        counts = {name: count for name, count in kinds.items() if count}
        found.append(
            CostlyPicture(place, pairs.img_ids[place], int(people[place]), int(seen[place]), counts)
        )
    return found


def _per_picture(pictures: np.ndarray, errors: Errors) -> np.ndarray:
    return np.bincount(pictures, minlength=errors.pairs.num_pictures)


def draw_costly(
    costly: Sequence[CostlyPicture],
    errors: Errors,
    annotations: Sequence[CrowdAnnotation],
    detections: Sequence[CrowdDetections],
    find_picture: Callable[[str | int], Path],
) -> list[str]:
    """Addresses of whole pictures: what was found, false alarms, the people missed.

    Args:
        costly (Sequence[CostlyPicture]): Which.
        errors, annotations, detections, find_picture: As in :func:`worst`.
    """
    pairs = errors.pairs
    shown = pairs.det_score >= errors.score_thr
    hit = np.zeros(len(shown), bool)
    hit[errors.found_by[errors.found_by >= 0]] = True
    drawn = []
    for one in costly:
        truth, found = annotations[one.place], detections[one.place]
        here = pairs.det_picture == one.place
        parts = (
            (truth.boxes[truth.ignored], IGNORED),
            (found.boxes[(shown & hit)[here]], HIT),
            (found.boxes[(shown & (errors.alarm >= 0))[here]], FALSE_ALARM),
            (truth.boxes[~truth.ignored][errors.miss[pairs.gt_picture == one.place] >= 0], MISS),
        )
        with Image.open(find_picture(one.img_id)) as file:
            image = file.convert('RGB')
        scale = min(WHOLE / max(image.size), 1)
        image = image.resize([max(round(side * scale), 1) for side in image.size])
        boxes = np.concatenate([boxes for boxes, _ in parts]) * scale
        colors = [color for boxes, color in parts for _ in range(len(boxes))]
        drawn.append(_jpeg(Image.fromarray(draw_boxes(np.asarray(image), boxes, colors))))
    return drawn


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
    return _jpeg(image), caption


def _jpeg(image: Image.Image) -> str:
    """Address that holds a picture."""
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=85)
    return data_uri(file.getvalue(), 'image/jpeg')
