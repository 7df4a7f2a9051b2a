"""Drawings of detections and of assignments."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ..assigners.geometry import INSIDE_MARGIN
from ..evaluation.annotations import CrowdAnnotation, CrowdDetections
from ..evaluation.matching import FP, IGNORED, TP, collect_pairs, match_crowd

#: Colors (RGB).
TP_COLOR, FP_COLOR, FN_COLOR = (60, 200, 90), (235, 50, 50), (255, 160, 0)
IGNORED_COLOR, WHITE, LIGHT, BLACK = (150, 150, 150), (255, 255, 255), (230, 230, 230), (0, 0, 0)
#: Sub-pixel precision of OpenCV's drawing calls, in bits.
SHIFT = 4
BAR_HEIGHT = 26
FONT = cv2.FONT_HERSHEY_SIMPLEX


def get_box_colors(number: int) -> list[tuple[int, int, int]]:
    """Return RGB colors whose neighbors in the list differ well.

    Example:
        >>> get_box_colors(1)
        [(255, 173, 13)]
    """
    golden = 0.618033988749895
    return [
        tuple(
            round(255 * c)
            for c in colorsys.hsv_to_rgb(
                (0.11 + i * golden) % 1, (0.95, 0.65)[i % 2], (1.0, 0.8)[i // 2 % 2]
            )
        )
        for i in range(number)
    ]


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    colors: Sequence[tuple],
    thickness: int = 2,
    texts: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw boxes and optional small texts on a copy of an image.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3).
        boxes (np.ndarray): ``x1 y1 x2 y2`` in pixels, (n, 4).
        colors (Sequence[tuple]): RGB, one per box.
        thickness (int): Line width in pixels. Defaults to 2.
        texts (Sequence[str], optional): One per box.

    Returns:
        np.ndarray: RGB, uint8, (H, W, 3).
    """
    image = image.copy()
    scaled = np.rint(np.asarray(boxes, dtype=float).reshape(-1, 4) * (1 << SHIFT))
    for i, (x1, y1, x2, y2) in enumerate(scaled.astype(int).tolist()):
        cv2.rectangle(image, (x1, y1), (x2, y2), colors[i], thickness, cv2.LINE_AA, SHIFT)
        if texts:
            origin = (x1 >> SHIFT) + 2, max((y1 >> SHIFT) - 3, 9)
            cv2.putText(image, texts[i], origin, FONT, 0.32, BLACK, 2, cv2.LINE_AA)
            cv2.putText(image, texts[i], origin, FONT, 0.32, colors[i], 1, cv2.LINE_AA)
    return image


def add_title(image: np.ndarray, parts: Sequence[tuple[str, tuple]]) -> np.ndarray:
    """Add a bar with colored texts above an image."""
    bar = np.full((BAR_HEIGHT, image.shape[1], 3), 32, dtype=np.uint8)
    x = 6
    for text, color in parts:
        x = _put_text(bar, text, (x, BAR_HEIGHT - 8), color)
    return np.concatenate([bar, image])


def _put_text(image: np.ndarray, text: str, origin: tuple[int, int], color: tuple) -> int:
    """Write a text and return where the next one starts."""
    cv2.putText(image, text, origin, FONT, 0.45, color, 1, cv2.LINE_AA)
    return origin[0] + cv2.getTextSize(text, FONT, 0.45, 1)[0][0] + 14


def join_horizontally(left: np.ndarray, right: np.ndarray, gap: int = 6) -> np.ndarray:
    """Join two images of equal height."""
    between = np.full((len(left), gap, 3), 255, dtype=np.uint8)
    return np.concatenate([left, between, right], axis=1)


def draw_detections(
    image: np.ndarray,
    annotation: CrowdAnnotation,
    detections: CrowdDetections,
    score_thr: float,
    iou_thr: float = 0.5,
) -> np.ndarray:
    """Draw gts on the left and detections on the right, colored by TP, FP, FN and ignored.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3).
        annotation (CrowdAnnotation): Ground truth.
        detections (CrowdDetections): Detections of the same image.
        score_thr (float): Detections below are not drawn.
        iou_thr (float): IoU threshold of the matching. Defaults to 0.5.

    Returns:
        np.ndarray: RGB, uint8.
    """
    keep = detections.scores >= score_thr
    shown = CrowdDetections.create(
        annotation.img_id, detections.boxes[keep], detections.scores[keep], *image.shape[:2]
    )
    matches = match_crowd(collect_pairs([annotation], [shown], iou_thr), iou_thr)
    gts, regions = annotation.gt_bboxes, annotation.boxes[annotation.ignored]
    is_fn = ~np.isin(np.arange(len(gts)), matches.gt)
    colors = {TP: TP_COLOR, FP: FP_COLOR, IGNORED: IGNORED_COLOR}
    left = draw_boxes(image, regions, [IGNORED_COLOR] * len(regions), 1)
    left = draw_boxes(left, gts, [FN_COLOR if missed else TP_COLOR for missed in is_fn])
    right = draw_boxes(
        image,
        shown.boxes[matches.det],
        [colors[label] for label in matches.label.tolist()],
        texts=[f'{score:.2f}' for score in matches.score],
    )
    right = draw_boxes(right, gts[is_fn], [FN_COLOR] * is_fn.sum(), 1)
    left_title = [
        (f'{len(gts)} gts', LIGHT),
        ('detected', TP_COLOR),
        ('FN', FN_COLOR),
        ('ignored', IGNORED_COLOR),
    ]
    right_title = [
        (f'{(matches.label == TP).sum()} TP', TP_COLOR),
        (f'{is_fn.sum()} FN', FN_COLOR),
        (f'{(matches.label == FP).sum()} FP', FP_COLOR),
        (f'score >= {score_thr:.2f}', LIGHT),
    ]
    return join_horizontally(add_title(left, left_title), add_title(right, right_title))


def draw_assignment(
    image: np.ndarray,
    gt_bboxes: np.ndarray,
    points: np.ndarray,
    levels: np.ndarray,
    gt_inds: np.ndarray,
    dot: float = 1.0,
    *,
    candidates: np.ndarray | None = None,
    ignore_bboxes: np.ndarray | None = None,
    title: str = '',
    remark: str = '',
    level_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw the positive priors of every gt, with a legend and counts.

    Color by gt, size by level. A white rim and a line to the gt: the center of the prior lies
    outside the gt. A core in the color of another gt: contested, a candidate of that gt as well.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3), as the network sees it, or enlarged together with
            all coordinates.
        gt_bboxes (np.ndarray): Gts, (num_gts, 4).
        points (np.ndarray): Centers of the priors, (num_priors, 2).
        levels (np.ndarray): Level of each prior, 0 the finest, -1 if unknown, (num_priors,).
        gt_inds (np.ndarray): As in mmdet's AssignResult, (num_priors,). Ignored priors (-1) are
            gray.
        dot (float): Scale of the dots. Defaults to 1.0.
        candidates (np.ndarray, optional): Candidate priors of each gt, bool, (num_gts, num_priors);
            without them, no prior is marked as contested.
        ignore_bboxes (np.ndarray, optional): Ignore regions, (m, 4).
        title (str): Line above the counts. Defaults to none.
        remark (str): Gray text after the title. Defaults to none.
        level_names (Sequence[str], optional): Names of the levels for the legend.

    Returns:
        np.ndarray: RGB, uint8.
    """
    colors = get_box_colors(len(gt_bboxes))
    num_priors = np.bincount(gt_inds[gt_inds > 0], minlength=len(gt_bboxes) + 1)[1:]
    other_gt = _find_other_gts(gt_inds, candidates)
    outside = _find_outside(gt_bboxes, points, gt_inds)
    # Only boxes and dots keep their colors.
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = (0.33 * gray + 0.2 * image).astype(np.uint8)
    if ignore_bboxes is not None:
        image = draw_boxes(image, ignore_bboxes, [IGNORED_COLOR] * len(ignore_bboxes), 1)
    image = draw_boxes(image, gt_bboxes, colors, 1)
    image = _cross_out(image, gt_bboxes[num_priors == 0])
    for i in np.argsort(-levels, kind='stable'):
        if gt_inds[i] == 0:
            continue
        gt = gt_inds[i] - 1
        if outside[i]:
            nearest = points[i].clip(gt_bboxes[gt, :2], gt_bboxes[gt, 2:])
            _draw_line(image, points[i], nearest, colors[gt])
        _draw_dot(
            image,
            points[i],
            _get_radius(levels[i], dot),
            colors[gt] if gt >= 0 else IGNORED_COLOR,
            WHITE if outside[i] else BLACK,
            colors[other_gt[i]] if other_gt[i] >= 0 else None,
        )

    num_positives = max(int((gt_inds > 0).sum()), 1)
    mean, span = 0.0, ''
    if len(num_priors):
        mean, span = num_priors.mean(), f' ({num_priors.min()} to {num_priors.max()})'
    num_without = int((num_priors == 0).sum())
    counts = [
        (f'{len(gt_bboxes)} gts', LIGHT),
        (f'{mean:.1f} priors each{span}', LIGHT),
        (f'{num_without} without prior', FN_COLOR if num_without else LIGHT),
    ]
    if candidates is not None:
        counts.append((f'{(other_gt >= 0).sum() / num_positives:.0%} contested', LIGHT))
    counts.append((f'{outside.sum() / num_positives:.0%} outside', LIGHT))
    image = add_title(image, counts)
    if title:
        image = add_title(image, [(title, WHITE), (remark, IGNORED_COLOR)])
    marks = dict(
        contested=candidates is not None,
        ignored=bool((gt_inds < 0).any()),
        without=num_without > 0,
    )
    legend = _draw_legend(image.shape[1], levels[gt_inds > 0], dot, level_names, **marks)
    return np.concatenate([image, legend])


def _get_radius(level: int, dot: float) -> float:
    return dot * (2.7 + 1.0 * max(level, 0))


def _find_other_gts(gt_inds: np.ndarray, candidates: np.ndarray | None) -> np.ndarray:
    """First other gt of each contested prior, else -1, (num_priors,)."""
    if candidates is None or not len(candidates):
        return np.full(len(gt_inds), -1)
    others = candidates.copy()
    positive = np.flatnonzero(gt_inds > 0)
    others[gt_inds[positive] - 1, positive] = False
    return np.where((gt_inds > 0) & (candidates.sum(0) > 1), others.argmax(0), -1)


def _find_outside(gt_bboxes: np.ndarray, points: np.ndarray, gt_inds: np.ndarray) -> np.ndarray:
    """Positive priors whose center is outside their gt, bool, (num_priors,)."""
    outside = np.zeros(len(gt_inds), dtype=bool)
    positive = gt_inds > 0
    gts, centers = gt_bboxes[gt_inds[positive] - 1], points[positive]
    distance = np.minimum(centers - gts[:, :2], gts[:, 2:] - centers)
    outside[positive] = (distance <= INSIDE_MARGIN).any(1)
    return outside


def _to_fixed_point(point) -> tuple[int, int]:
    return tuple(np.rint(np.asarray(point, dtype=float) * (1 << SHIFT)).astype(int).tolist())


def _draw_line(image: np.ndarray, start, end, color: tuple) -> None:
    start, end = _to_fixed_point(start), _to_fixed_point(end)
    cv2.line(image, start, end, color, 1, cv2.LINE_AA, SHIFT)


def _draw_dot(
    image: np.ndarray, center, radius: float, color: tuple, rim: tuple, core: tuple | None = None
) -> None:
    size, center = int(radius * (1 << SHIFT)), _to_fixed_point(center)
    cv2.circle(image, center, size, color, -1, cv2.LINE_AA, SHIFT)
    cv2.circle(image, center, size, rim, 1, cv2.LINE_AA, SHIFT)
    if core is not None:
        cv2.circle(image, center, int(0.7 * size), BLACK, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, center, int(0.55 * size), core, -1, cv2.LINE_AA, SHIFT)


def _cross_out(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mark gts without any prior."""
    image = draw_boxes(image, boxes, [FN_COLOR] * len(boxes), 2)
    for x1, y1, x2, y2 in boxes:
        _draw_line(image, (x1, y1), (x2, y2), FN_COLOR)
        _draw_line(image, (x1, y2), (x2, y1), FN_COLOR)
    return image


def _draw_legend(
    width: int,
    levels: np.ndarray,
    dot: float,
    level_names: Sequence[str] | None,
    contested: bool,
    ignored: bool,
    without: bool,
) -> np.ndarray:
    """Draw the meaning of the marks and the number of positive priors per level."""
    height = max(BAR_HEIGHT, int(2 * _get_radius(levels.max(initial=0), dot)) + 6)
    bar = np.full((height, width, 3), 32, dtype=np.uint8)
    x = 8.0

    def add_entry(text: str, radius: float, draw: Callable | None = None, **style) -> None:
        nonlocal x
        center = (x + radius, height / 2)
        if draw is None:
            _draw_dot(bar, center, radius, **{'color': (110, 190, 255), 'rim': BLACK} | style)
        else:
            draw(center)
        x = _put_text(bar, text, (int(x + 2 * radius + 5), height // 2 + 5), LIGHT)

    def draw_crossed(center) -> None:
        cx, cy = center
        bar[:] = _cross_out(bar, np.array([[cx - 5, cy - 8, cx + 5, cy + 8]]))

    size = _get_radius(1, max(dot, 1.5))
    for level, count in zip(*np.unique(levels[levels >= 0], return_counts=True), strict=True):
        name = level_names[level] if level_names else f'level {level}'
        add_entry(f'{name}: {count}', _get_radius(level, dot))
    if contested:
        add_entry('contested (core: other gt)', size, core=(255, 90, 90))
    add_entry('outside its gt', size, rim=WHITE)
    if ignored:
        add_entry('ignored', size, color=IGNORED_COLOR)
    if without:
        add_entry('without prior', 8, draw_crossed)
    return bar


def arrange_in_rows(images: Sequence[np.ndarray], columns: int = 0, gap: int = 6) -> np.ndarray:
    """Arrange images of equal width in rows, in reading order.

    Args:
        images (Sequence[np.ndarray]): RGB, uint8.
        columns (int): Images per row; 0 comes closest to 16:9. Defaults to 0.
        gap (int): White pixels between images. Defaults to 6.

    Returns:
        np.ndarray: RGB, uint8.

    Example:
        >>> arrange_in_rows([np.zeros((10, 20, 3), np.uint8)] * 2, columns=2).shape
        (10, 46, 3)
    """
    height, width = max(map(len, images)), images[0].shape[1]
    pad = dict(borderType=cv2.BORDER_CONSTANT, value=(32, 32, 32))
    padded = [cv2.copyMakeBorder(one, 0, height - len(one), 0, 0, **pad) for one in images]

    def distance_to_16_9(number: int) -> float:
        rows = -(-len(padded) // number)
        return abs(np.log(number * width / (rows * height) * 9 / 16))

    columns = min(columns, len(padded)) or min(range(1, len(padded) + 1), key=distance_to_16_9)
    padded += [np.full_like(padded[0], 255)] * (-len(padded) % columns)
    rows = []
    for i in range(0, len(padded), columns):
        row = padded[i]
        for image in padded[i + 1 : i + columns]:
            row = join_horizontally(row, image, gap)
        rows += [row, np.full((gap, row.shape[1], 3), 255, dtype=np.uint8)]
    return np.concatenate(rows[:-1])
