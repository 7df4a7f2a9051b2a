"""Pictures of detections and of assignments."""

import colorsys
from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np

#: Colours (RGB) of what became of a box or a detection.
HIT, MISS, FALSE_ALARM, IGNORED = (60, 200, 90), (255, 160, 0), (235, 50, 50), (150, 150, 150)
#: Sub-pixel precision of OpenCV's drawing calls.
SHIFT = 4
BAR = 26


def box_colors(number: int) -> list[tuple[int, int, int]]:
    """Colours (RGB) that differ well between neighbours in the list."""
    golden = 0.618033988749895
    return [
        tuple(round(255 * c) for c in colorsys.hsv_to_rgb(
            (0.11 + i * golden) % 1, (0.95, 0.65)[i % 2], (1.0, 0.8)[i // 2 % 2]))
        for i in range(number)
    ]


def draw_boxes(image: np.ndarray, boxes: np.ndarray, colors: Sequence[tuple],
               thickness: int = 2, texts: Optional[Sequence[str]] = None) -> np.ndarray:
    """Draw boxes and small texts on a copy.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3).
        boxes (np.ndarray): ``x1 y1 x2 y2`` in pixels, (n, 4).
        colors (Sequence[tuple]): RGB, one a box.
        thickness (int): Of the lines, in pixels. Defaults to 2.
        texts (Sequence[str], optional): One a box.

    Returns:
        np.ndarray: RGB, uint8, (H, W, 3).
    """
    image = image.copy()
    scaled = np.rint(np.asarray(boxes, dtype=float).reshape(-1, 4) * (1 << SHIFT))
    for i, (x1, y1, x2, y2) in enumerate(scaled.astype(int).tolist()):
        cv2.rectangle(image, (x1, y1), (x2, y2), colors[i], thickness, cv2.LINE_AA, SHIFT)
        if texts:
            place = (x1 >> SHIFT) + 2, max((y1 >> SHIFT) - 3, 9)
            cv2.putText(image, texts[i], place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 0), 2,
                        cv2.LINE_AA)
            cv2.putText(image, texts[i], place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, colors[i], 1,
                        cv2.LINE_AA)
    return image


def with_title(image: np.ndarray, parts: Sequence[tuple[str, tuple]]) -> np.ndarray:
    """Put a bar of coloured words above a picture."""
    bar = np.full((BAR, image.shape[1], 3), 32, dtype=np.uint8)
    x = 6
    for text, color in parts:
        cv2.putText(bar, text, (x, BAR - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] + 14
    return np.concatenate([bar, image])


def side_by_side(left: np.ndarray, right: np.ndarray, gap: int = 6) -> np.ndarray:
    """Two pictures of one height beside each other."""
    between = np.full((len(left), gap, 3), 255, dtype=np.uint8)
    return np.concatenate([left, between, right], axis=1)


def match_detections(gt_bboxes: np.ndarray, bboxes: np.ndarray,
                     iou_thr: float = 0.5) -> np.ndarray:
    """Which person each detection found, best score first, each person once.

    Args:
        gt_bboxes (np.ndarray): People, (k, 4).
        bboxes (np.ndarray): Detections in falling order of score, (n, 4).
        iou_thr (float): Overlap from which on a person counts as found. Defaults to 0.5.

    Returns:
        np.ndarray: Index of the person, -1 for none, (n,).
    """
    found = np.full(len(bboxes), -1)
    overlaps = _iou(bboxes, gt_bboxes)
    for i in range(len(bboxes)):
        if overlaps.shape[1] and overlaps[i].max() >= iou_thr:
            found[i] = overlaps[i].argmax()
            overlaps[:, found[i]] = 0
    return found


def best_threshold(pictures: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """The score from which on hits, misses and false alarms balance best (largest F1).

    Args:
        pictures (Sequence[tuple]): A picture's people (k, 4), detections (n, 4) and scores (n,).

    Returns:
        float: The threshold; 0 without detections.
    """
    hits, scores, people = [], [], sum(len(gt_bboxes) for gt_bboxes, *_ in pictures)
    for gt_bboxes, bboxes, score in pictures:
        order = np.argsort(-score, kind='stable')
        hits.append(match_detections(gt_bboxes, bboxes[order]) >= 0)
        scores.append(score[order])
    scores = np.concatenate(scores)
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind='stable')
    found = np.concatenate(hits)[order].cumsum()
    f1 = 2 * found / (np.arange(1, len(found) + 1) + people)
    return float(scores[order][f1.argmax()])


def _iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    size = (np.minimum(boxes1[:, None, 2:], boxes2[:, 2:]) -
            np.maximum(boxes1[:, None, :2], boxes2[:, :2])).clip(min=0)
    inter = size.prod(-1)
    area1, area2 = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes1, boxes2))
    return inter / np.maximum(area1[:, None] + area2 - inter, 1e-9)


def draw_detections(image: np.ndarray, gt_bboxes: np.ndarray, ignore_bboxes: np.ndarray,
                    bboxes: np.ndarray, scores: np.ndarray, score_thr: float) -> np.ndarray:
    """Ground truth on the left, detections on the right, misses and false alarms in colour.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3).
        gt_bboxes (np.ndarray): People, (k, 4).
        ignore_bboxes (np.ndarray): Regions that do not count, (m, 4); a detection that lies in
            one by half is neither a hit nor a false alarm.
        bboxes (np.ndarray): Detections, (n, 4).
        scores (np.ndarray): Their scores, (n,).
        score_thr (float): Detections below are left out.

    Returns:
        np.ndarray: RGB, uint8.
    """
    order = np.argsort(-scores, kind='stable')
    order = order[scores[order] >= score_thr]
    bboxes, scores = bboxes[order], scores[order]
    found = match_detections(gt_bboxes, bboxes)
    excused = (found < 0) & (_covered(bboxes, ignore_bboxes) >= 0.5)
    colors = [HIT if f >= 0 else IGNORED if e else FALSE_ALARM for f, e in zip(found, excused)]
    missed = np.setdiff1d(np.arange(len(gt_bboxes)), found)
    left = draw_boxes(image, ignore_bboxes, [IGNORED] * len(ignore_bboxes), 1)
    left = draw_boxes(left, gt_bboxes, [MISS if i in missed else HIT
                                        for i in range(len(gt_bboxes))])
    right = draw_boxes(image, bboxes, colors, texts=[f'{s:.2f}' for s in scores])
    right = draw_boxes(right, gt_bboxes[missed], [MISS] * len(missed), 1)
    white = (230, 230, 230)
    left = with_title(left, [(f'{len(gt_bboxes)} people', white), ('found', HIT),
                             ('missed', MISS), ('ignored', IGNORED)])
    right = with_title(right, [
        (f'{(found >= 0).sum()} hits', HIT), (f'{len(missed)} missed', MISS),
        (f'{((found < 0) & ~excused).sum()} false alarms', FALSE_ALARM),
        (f'score >= {score_thr:.2f}', white)])
    return side_by_side(left, right)


def _covered(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Largest share of each box that lies in one of the regions."""
    if not len(regions):
        return np.zeros(len(boxes))
    size = (np.minimum(boxes[:, None, 2:], regions[:, 2:]) -
            np.maximum(boxes[:, None, :2], regions[:, :2])).clip(min=0)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return (size.prod(-1) / np.maximum(area[:, None], 1e-9)).max(1)


def draw_assignment(image: np.ndarray, gt_bboxes: np.ndarray, points: np.ndarray,
                    levels: np.ndarray, gt_inds: np.ndarray, dot: float = 1.0) -> np.ndarray:
    """The priors that every person took: colour by person, size by level.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3), of the size the network saw.
        gt_bboxes (np.ndarray): People, (k, 4).
        points (np.ndarray): Centres of the priors, (n, 2).
        levels (np.ndarray): Level of each prior, 0 the finest, (n,).
        gt_inds (np.ndarray): As in mmdet's AssignResult, (n,). Priors that lie outside the box
            they went to get a white rim; those that an ignore box won are grey.
        dot (float): Scale of the priors' dots. Defaults to 1.0.

    Returns:
        np.ndarray: RGB, uint8.
    """
    colors = box_colors(len(gt_bboxes))
    image = (image * 0.65).astype(np.uint8)
    image = draw_boxes(image, gt_bboxes, colors, 1)
    outside_total = 0
    for i in np.argsort(-levels, kind='stable'):
        ind = gt_inds[i]
        if ind == 0:
            continue
        center = tuple(np.rint(points[i] * (1 << SHIFT)).astype(int).tolist())
        radius = int(dot * (2.2 + 1.3 * levels[i]) * (1 << SHIFT))
        outside = False
        if ind > 0:
            x1, y1, x2, y2 = gt_bboxes[ind - 1]
            outside = not (x1 < points[i, 0] < x2 and y1 < points[i, 1] < y2)
            outside_total += outside
        color = colors[ind - 1] if ind > 0 else IGNORED
        cv2.circle(image, center, radius, color, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, center, radius, (255, 255, 255) if outside else (0, 0, 0), 1,
                   cv2.LINE_AA, SHIFT)
    taken = np.bincount(gt_inds[gt_inds > 0], minlength=len(gt_bboxes) + 1)[1:]
    mean = taken.mean() if len(taken) else 0
    return with_title(image, [
        (f'{len(gt_bboxes)} people, {mean:.1f} priors each', (230, 230, 230)),
        (f'{(taken == 0).sum()} without', MISS if (taken == 0).any() else (230, 230, 230)),
        (f'{outside_total} outside (white rim)', (230, 230, 230))])
