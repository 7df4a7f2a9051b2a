"""Pictures of detections and of assignments."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from mmdet_lla.assigners.geometry import INSIDE_MARGIN

#: Colours (RGB) of what became of a box or a detection.
HIT, MISS, FALSE_ALARM, IGNORED = (60, 200, 90), (255, 160, 0), (235, 50, 50), (150, 150, 150)
#: Sub-pixel precision of OpenCV's drawing calls.
SHIFT = 4
BAR = 26
WHITE, LIGHT, BLACK = (255, 255, 255), (230, 230, 230), (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def box_colors(number: int) -> list[tuple[int, int, int]]:
    """Colours (RGB) that differ well between neighbours in the list."""
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
            cv2.putText(image, texts[i], place, FONT, 0.32, (0, 0, 0), 2, cv2.LINE_AA)
            cv2.putText(image, texts[i], place, FONT, 0.32, colors[i], 1, cv2.LINE_AA)
    return image


def with_title(image: np.ndarray, parts: Sequence[tuple[str, tuple]]) -> np.ndarray:
    """Put a bar of coloured words above a picture."""
    bar = np.full((BAR, image.shape[1], 3), 32, dtype=np.uint8)
    x = 6
    for text, color in parts:
        cv2.putText(bar, text, (x, BAR - 8), FONT, 0.45, color, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, FONT, 0.45, 1)[0][0] + 14
    return np.concatenate([bar, image])


def side_by_side(left: np.ndarray, right: np.ndarray, gap: int = 6) -> np.ndarray:
    """Two pictures of one height beside each other."""
    between = np.full((len(left), gap, 3), 255, dtype=np.uint8)
    return np.concatenate([left, between, right], axis=1)


def match_detections(gt_bboxes: np.ndarray, bboxes: np.ndarray, iou_thr: float = 0.5) -> np.ndarray:
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
    size = (
        np.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
        - np.maximum(boxes1[:, None, :2], boxes2[:, :2])
    ).clip(min=0)
    inter = size.prod(-1)
    area1, area2 = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes1, boxes2))
    return inter / np.maximum(area1[:, None] + area2 - inter, 1e-9)


def draw_detections(
    image: np.ndarray,
    gt_bboxes: np.ndarray,
    ignore_bboxes: np.ndarray,
    bboxes: np.ndarray,
    scores: np.ndarray,
    score_thr: float,
) -> np.ndarray:
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
    colors = [
        HIT if f >= 0 else IGNORED if e else FALSE_ALARM
        for f, e in zip(found, excused, strict=True)
    ]
    missed = np.setdiff1d(np.arange(len(gt_bboxes)), found)
    left = draw_boxes(image, ignore_bboxes, [IGNORED] * len(ignore_bboxes), 1)
    left = draw_boxes(
        left, gt_bboxes, [MISS if i in missed else HIT for i in range(len(gt_bboxes))]
    )
    right = draw_boxes(image, bboxes, colors, texts=[f'{s:.2f}' for s in scores])
    right = draw_boxes(right, gt_bboxes[missed], [MISS] * len(missed), 1)
    white = (230, 230, 230)
    left = with_title(
        left,
        [
            (f'{len(gt_bboxes)} people', white),
            ('found', HIT),
            ('missed', MISS),
            ('ignored', IGNORED),
        ],
    )
    right = with_title(
        right,
        [
            (f'{(found >= 0).sum()} hits', HIT),
            (f'{len(missed)} missed', MISS),
            (f'{((found < 0) & ~excused).sum()} false alarms', FALSE_ALARM),
            (f'score >= {score_thr:.2f}', white),
        ],
    )
    return side_by_side(left, right)


def _covered(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Largest share of each box that lies in one of the regions."""
    if not len(regions):
        return np.zeros(len(boxes))
    size = (
        np.minimum(boxes[:, None, 2:], regions[:, 2:])
        - np.maximum(boxes[:, None, :2], regions[:, :2])
    ).clip(min=0)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return (size.prod(-1) / np.maximum(area[:, None], 1e-9)).max(1)


def draw_assignment(
    image: np.ndarray,
    gt_bboxes: np.ndarray,
    points: np.ndarray,
    levels: np.ndarray,
    gt_inds: np.ndarray,
    dot: float = 1.0,
    *,
    wanted: np.ndarray | None = None,
    ignore_bboxes: np.ndarray | None = None,
    title: str = '',
    remark: str = '',
    level_names: Sequence[str] | None = None,
) -> np.ndarray:
    """The priors that every person took, with what the marks mean and how many there are.

    Colour by person, size by level. A white rim and a line to its person: the prior's centre is
    not inside the box. A core in another person's colour: contested, that one wanted it too.

    Args:
        image (np.ndarray): RGB, uint8, (H, W, 3), of the size the network saw or enlarged with
            all that follows.
        gt_bboxes (np.ndarray): People, (k, 4).
        points (np.ndarray): Centres of the priors, (n, 2).
        levels (np.ndarray): Level of each prior, 0 the finest, -1 for not known, (n,).
        gt_inds (np.ndarray): As in mmdet's AssignResult, (n,). Priors that are ignored (-1) are
            grey.
        dot (float): Scale of the priors' dots. Defaults to 1.0.
        wanted (np.ndarray, optional): Which priors each person would take, bool, (k, n); without
            it, nothing is marked as contested.
        ignore_bboxes (np.ndarray, optional): Ignore boxes, (m, 4).
        title (str): What is shown, a line of its own above the counts. Defaults to none.
        remark (str): Added to the title in grey. Defaults to none.
        level_names (Sequence[str], optional): Of the levels, for the legend.

    Returns:
        np.ndarray: RGB, uint8.
    """
    colors = box_colors(len(gt_bboxes))
    taken = np.bincount(gt_inds[gt_inds > 0], minlength=len(gt_bboxes) + 1)[1:]
    rival = _rivals(gt_inds, wanted)
    outside = _outside(gt_bboxes, points, gt_inds)
    # Only people and dots keep their colours.
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = (0.33 * gray + 0.2 * image).astype(np.uint8)
    image = draw_boxes(
        image,
        np.zeros((0, 4)) if ignore_bboxes is None else ignore_bboxes,
        [IGNORED] * (0 if ignore_bboxes is None else len(ignore_bboxes)),
        1,
    )
    image = draw_boxes(image, gt_bboxes, colors, 1)
    image = _cross_out(image, gt_bboxes[taken == 0])
    for i in np.argsort(-levels, kind='stable'):
        if gt_inds[i] == 0:
            continue
        owner = gt_inds[i] - 1
        if outside[i]:
            _line_to_box(image, points[i], gt_bboxes[owner], colors[owner])
        _dot(
            image,
            points[i],
            _radius(levels[i], dot),
            colors[owner] if owner >= 0 else IGNORED,
            WHITE if outside[i] else BLACK,
            colors[rival[i]] if rival[i] >= 0 else None,
        )

    positives = max(int((gt_inds > 0).sum()), 1)
    ranges = f' ({taken.min()} to {taken.max()})' if len(taken) else ''
    counts = [
        (f'{len(gt_bboxes)} people', LIGHT),
        (f'{taken.mean() if len(taken) else 0:.1f} priors each{ranges}', LIGHT),
        (f'{(taken == 0).sum()} left with none', MISS if (taken == 0).any() else LIGHT),
    ]
    if wanted is not None:
        counts.append((f'{(rival >= 0).sum() / positives:.0%} contested', LIGHT))
    counts.append((f'{outside.sum() / positives:.0%} outside', LIGHT))
    image = with_title(image, counts)
    if title:
        image = with_title(image, [(title, WHITE), (remark, IGNORED)])
    return np.concatenate(
        [
            image,
            _legend(
                image.shape[1],
                levels[gt_inds > 0],
                dot,
                level_names,
                wanted is not None,
                (gt_inds < 0).any(),
                (taken == 0).any(),
            ),
        ]
    )


def _radius(level: int, dot: float) -> float:
    return dot * (2.7 + 1.0 * max(level, 0))


def _rivals(gt_inds: np.ndarray, wanted: np.ndarray | None) -> np.ndarray:
    """For each contested prior, the first person that wanted it and has not got it; else -1."""
    if wanted is None or not len(wanted):
        return np.full(len(gt_inds), -1)
    others = wanted.copy()
    positive = np.flatnonzero(gt_inds > 0)
    others[gt_inds[positive] - 1, positive] = False
    return np.where((gt_inds > 0) & (wanted.sum(0) > 1), others.argmax(0), -1)


def _outside(gt_bboxes: np.ndarray, points: np.ndarray, gt_inds: np.ndarray) -> np.ndarray:
    outside = np.zeros(len(gt_inds), dtype=bool)
    positive = gt_inds > 0
    own, center = gt_bboxes[gt_inds[positive] - 1], points[positive]
    outside[positive] = (np.minimum(center - own[:, :2], own[:, 2:] - center) <= INSIDE_MARGIN).any(
        1
    )
    return outside


def _at(point) -> tuple[int, int]:
    return tuple(np.rint(np.asarray(point, dtype=float) * (1 << SHIFT)).astype(int).tolist())


def _dot(
    image: np.ndarray, center, radius: float, color: tuple, rim: tuple, core: tuple | None = None
) -> None:
    """A prior."""
    size = int(radius * (1 << SHIFT))
    cv2.circle(image, _at(center), size, color, -1, cv2.LINE_AA, SHIFT)
    cv2.circle(image, _at(center), size, rim, 1, cv2.LINE_AA, SHIFT)
    if core is not None:
        cv2.circle(image, _at(center), int(0.7 * size), BLACK, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, _at(center), int(0.55 * size), core, -1, cv2.LINE_AA, SHIFT)


def _line_to_box(image: np.ndarray, point: np.ndarray, box: np.ndarray, color: tuple) -> None:
    """From a prior outside its box to the box's nearest place."""
    nearest = point.clip(box[:2], box[2:])
    cv2.line(image, _at(point), _at(nearest), color, 1, cv2.LINE_AA, SHIFT)


def _cross_out(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mark boxes that no prior went to."""
    image = draw_boxes(image, boxes, [MISS] * len(boxes), 2)
    for x1, y1, x2, y2 in boxes:
        cv2.line(image, _at((x1, y1)), _at((x2, y2)), MISS, 1, cv2.LINE_AA, SHIFT)
        cv2.line(image, _at((x1, y2)), _at((x2, y1)), MISS, 1, cv2.LINE_AA, SHIFT)
    return image


def _legend(
    width: int,
    levels: np.ndarray,
    dot: float,
    level_names: Sequence[str] | None,
    contested: bool,
    ignored: bool,
    without: bool,
) -> np.ndarray:
    """What the marks mean, and how many priors of each level went to people."""
    height = max(BAR, int(2 * _radius(levels.max(initial=0), dot)) + 6)
    bar = np.full((height, width, 3), 32, dtype=np.uint8)
    middle, x = height / 2, 8.0

    def entry(text: str, radius: float, mark) -> None:
        nonlocal x
        mark((x + radius, middle))
        x += 2 * radius + 5
        cv2.putText(bar, text, (int(x), int(middle) + 5), FONT, 0.45, LIGHT, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, FONT, 0.45, 1)[0][0] + 14

    fill, other, size = (110, 190, 255), (255, 90, 90), _radius(1, max(dot, 1.5))
    for level, count in zip(*np.unique(levels[levels >= 0], return_counts=True), strict=True):
        name = level_names[level] if level_names else f'level {level}'
        radius = _radius(level, dot)
        entry(
            f'{name}: {count}', radius, lambda at, radius=radius: _dot(bar, at, radius, fill, BLACK)
        )
    if contested:
        entry(
            'contested (core: who else)', size, lambda at: _dot(bar, at, size, fill, BLACK, other)
        )
    entry('outside its box', size, lambda at: _dot(bar, at, size, fill, WHITE))
    if ignored:
        entry('ignored', size, lambda at: _dot(bar, at, size, IGNORED, BLACK))
    if without:
        entry(
            'left with none',
            8,
            lambda at: bar.__setitem__(
                slice(None),
                _cross_out(bar, np.array([[at[0] - 5, at[1] - 8, at[0] + 5, at[1] + 8]])),
            ),
        )
    return bar


def in_rows(pictures: Sequence[np.ndarray], columns: int = 0, gap: int = 6) -> np.ndarray:
    """Pictures of one width beside and below each other, in reading order.

    Args:
        pictures (Sequence[np.ndarray]): RGB, uint8.
        columns (int): How many beside each other; 0 comes closest to a screen's 16:9. Defaults
            to 0.
        gap (int): White pixels between them. Defaults to 6.

    Returns:
        np.ndarray: RGB, uint8.
    """
    height, width = max(len(picture) for picture in pictures), pictures[0].shape[1]
    full = [
        cv2.copyMakeBorder(
            picture, 0, height - len(picture), 0, 0, cv2.BORDER_CONSTANT, value=(32, 32, 32)
        )
        for picture in pictures
    ]
    columns = min(columns, len(full)) or min(
        range(1, len(full) + 1),
        key=lambda number: abs(
            np.log(number * width / (-(-len(full) // number) * height) * 9 / 16)
        ),
    )
    full += [np.full_like(full[0], 255)] * (-len(full) % columns)
    rows = []
    for i in range(0, len(full), columns):
        row = full[i]
        for picture in full[i + 1 : i + columns]:
            row = side_by_side(row, picture, gap)
        rows += [row, np.full((gap, row.shape[1], 3), 255, dtype=np.uint8)]
    return np.concatenate(rows[:-1])
