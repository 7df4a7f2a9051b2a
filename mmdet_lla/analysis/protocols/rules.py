"""What evaluations of detections differ in, as switches of one evaluation.

Every switch that is left as it is makes it CrowdHuman's; ``toolkits`` says how the others are set,
and each of them comes to the numbers of its own code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections, clip_boxes
from ...evaluation.citypersons import log_average_miss_rate_below
from ...evaluation.curves import Curve, average_precision, log_average_miss_rate, max_recall
from ...evaluation.matching import DROPPED, HIT, MISS, deferred_acceptance
from ...evaluation.overlaps import iou_of_pairs, lay_out, pairs_above
from ...utils.boxes import box_area

NO_LIMIT = (0.0, float('inf'))
#: No evaluation here asks for less overlap.
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Rules:
    """How detections are judged; the defaults are CrowdHuman's.

    Attributes:
        clip (bool): Boxes are cut to the picture.
        inclusive (bool): A box holds its right and lower pixel, so sides are one longer.
        height (tuple[float, float]): People whose height in pixels is outside are ignore regions.
        visible (tuple[float, float]): The same of their visible share.
        height_margin (float, optional): Detections this much smaller or larger than ``height`` are
            left out. None leaves none out.
        aspect_ratio (float, optional): Boxes of detections, and of people who count, get this width
            over height around their middle. None leaves boxes as they are.
        max_dets (int, optional): Best detections of a picture that count. None counts all.
        iou_thrs (tuple[float]): Numbers are means over these, from 0.5 on.
        at_threshold (bool): An overlap of exactly the threshold is enough.
        later_of_equals (bool): Of people with equal IoU a detection takes the last, not the first.
        second_choice (bool): A detection whose best person is taken gets the best who is free.
        ignore (str): What excuses a detection: 'share', a part of it in an ignore region as large
            as the threshold; 'iou', such an IoU with one, which then competes with people.
        area (str): AP is the area under precision over recall: 'trapezoids' between detections;
            'envelope', under the highest precision at any higher recall; '11 points' and
            '101 points', the mean of the envelope at so many recalls.
        read (str): The miss rate is read at the first detection that has 'reached' a number of
            false positives, or at the last one 'below' or at it.
        decimals (int, optional): Numbers are rounded to so many places.
    """

    clip: bool = True
    inclusive: bool = False
    height: tuple[float, float] = NO_LIMIT
    visible: tuple[float, float] = NO_LIMIT
    height_margin: float | None = None
    aspect_ratio: float | None = None
    max_dets: int | None = None
    iou_thrs: tuple[float, ...] = (0.5,)
    at_threshold: bool = False
    later_of_equals: bool = False
    second_choice: bool = True
    ignore: str = 'share'
    area: str = 'trapezoids'
    read: str = 'reached'
    decimals: int | None = None


@dataclass(frozen=True)
class _Pairs:
    """All pictures laid end to end, with the pairs of boxes that may matter to any rule.

    Pairs are sorted by detection, each detection's favourite first, people before ignore regions.
    """

    det_picture: np.ndarray  # (D, )
    det_score: np.ndarray
    det_height: np.ndarray
    gt_picture: np.ndarray  # (G, ), ignore regions among them
    gt_height: np.ndarray
    gt_visible: np.ndarray
    gt_ignored: np.ndarray
    pair_det: np.ndarray  # (E, )
    pair_gt: np.ndarray
    pair_iou: np.ndarray
    pair_share: np.ndarray  # of the detection
    num_pictures: int


@dataclass
class Judge:
    """Judges one set of detections by any rules, and remembers what it has done.

    Args:
        annotations (Sequence[CrowdAnnotation]): Ground truth, one for each picture.
        detections (Sequence[CrowdDetections]): Of the same pictures in the same order.
    """

    annotations: Sequence[CrowdAnnotation]
    detections: Sequence[CrowdDetections]
    _pairs: dict[tuple, _Pairs] = field(default_factory=dict)
    _curves: dict[tuple, Curve] = field(default_factory=dict)

    def numbers(self, rules: Rules) -> dict[str, float]:
        """AP, MR and recall, fractions of 1, by some rules."""
        curves = [self._curve(rules, thr) for thr in rules.iou_thrs]
        found = dict(
            AP=_mean(AREAS[rules.area], curves),
            MR=_mean(MISS_RATES[rules.read], curves),
            recall=_mean(max_recall, curves),
        )
        if rules.decimals is not None:
            found = {name: round(value, rules.decimals) for name, value in found.items()}
        return found

    def _curve(self, rules: Rules, iou_thr: float) -> Curve:
        key = (
            (rules.clip, rules.inclusive, rules.height, rules.visible, rules.height_margin),
            (rules.aspect_ratio, rules.max_dets, iou_thr, rules.at_threshold),
            (rules.later_of_equals, rules.second_choice, rules.ignore),
        )
        if key not in self._curves:
            self._curves[key] = _count(self._collect(rules), rules, iou_thr)
        return self._curves[key]

    def _collect(self, rules: Rules) -> _Pairs:
        key: tuple = (rules.clip, rules.inclusive, rules.aspect_ratio, rules.later_of_equals)
        if rules.aspect_ratio is not None:
            key += (rules.height, rules.visible)  # only people who count get another shape
        if key not in self._pairs:
            self._pairs[key] = _collect(self.annotations, self.detections, rules)
        return self._pairs[key]


def _mean(number: Callable[[Curve], float], curves: Sequence[Curve]) -> float:
    return float(np.mean([number(curve) for curve in curves]))


def _envelope(curve: Curve) -> np.ndarray:
    """Highest precision at any higher recall, shape (N, )."""
    return np.maximum.accumulate(curve.precision[::-1])[::-1]


def _area_of_envelope(curve: Curve) -> float:
    return float(np.sum(np.diff(curve.recall, prepend=0) * _envelope(curve)))


def _at_recalls(recalls: np.ndarray) -> Callable[[Curve], float]:
    def mean_precision(curve: Curve) -> float:
        places = np.searchsorted(curve.recall, recalls, side='left')
        return float(np.mean(np.append(_envelope(curve), 0.0)[places]))

    return mean_precision


# Recalls as mmdet and pycocotools write them, for the sake of those that are reached exactly.
AREAS: dict[str, Callable[[Curve], float]] = {
    'trapezoids': average_precision,
    'envelope': _area_of_envelope,
    '11 points': _at_recalls(np.arange(0, 1 + 1e-3, 0.1)),
    '101 points': _at_recalls(np.linspace(0.0, 1.0, 101)),
}
MISS_RATES: dict[str, Callable[[Curve], float]] = {
    'reached': log_average_miss_rate,
    'below': log_average_miss_rate_below,
}


def outside(height: np.ndarray, visible: np.ndarray, heights: tuple, visibles: tuple) -> np.ndarray:
    """Whose height or visible share is outside a range; shape (n, ). Unknown shares are not."""
    with np.errstate(invalid='ignore'):
        return (
            (height < heights[0])
            | (height > heights[1])
            | (visible < visibles[0])
            | (visible > visibles[1])
        )


def reshape_boxes(boxes: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """Boxes of the same height and middle with another width over height, shape (n, 4)."""
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    half = (boxes[:, 3] - boxes[:, 1]) * aspect_ratio / 2
    return np.stack([middle - half, boxes[:, 1], middle + half, boxes[:, 3]], axis=1)


def _collect(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections], rules: Rules
) -> _Pairs:
    dets, det_at = lay_out([detection.boxes for detection in detections])
    gts, gt_at = lay_out([annotation.boxes for annotation in annotations])
    ignored = np.concatenate([np.zeros(0, bool), *(a.ignored for a in annotations)])
    visible = np.concatenate([np.zeros(0), *(a.visible for a in annotations)])
    det_height, gt_height = dets[:, 3] - dets[:, 1], gts[:, 3] - gts[:, 1]
    if rules.aspect_ratio is not None:
        counted = ~ignored & ~outside(gt_height, visible, rules.height, rules.visible)
        dets = reshape_boxes(dets, rules.aspect_ratio)
        gts[counted] = reshape_boxes(gts[counted], rules.aspect_ratio)
    if rules.clip:
        size = np.array([(d.width, d.height) for d in detections]).reshape(-1, 2)
        dets = clip_boxes(dets, np.repeat(size, np.diff(det_at), axis=0))
        gts = clip_boxes(gts, np.repeat(size, np.diff(gt_at), axis=0))
    if rules.inclusive:
        dets, gts = dets.copy(), gts.copy()
        dets[:, 2:] += 1
        gts[:, 2:] += 1
    det, gt, shared = pairs_above(dets, det_at, gts, gt_at, LEAST_IOU)
    det_areas = box_area(dets)[det]
    iou = iou_of_pairs(det_areas, box_area(gts)[gt], shared)
    order = np.lexsort((-gt if rules.later_of_equals else gt, ignored[gt], -iou, det))
    pictures = np.arange(len(annotations))
    return _Pairs(
        det_picture=np.repeat(pictures, np.diff(det_at)),
        det_score=np.concatenate([np.zeros(0), *(d.scores for d in detections)]),
        det_height=det_height,
        gt_picture=np.repeat(pictures, np.diff(gt_at)),
        gt_height=gt_height,
        gt_visible=visible,
        gt_ignored=ignored,
        pair_det=det[order],
        pair_gt=gt[order],
        pair_iou=iou[order],
        pair_share=(shared / det_areas)[order],
        num_pictures=len(annotations),
    )


def _count(pairs: _Pairs, rules: Rules, iou_thr: float) -> Curve:
    """Match and count."""
    ignored = pairs.gt_ignored | outside(
        pairs.gt_height, pairs.gt_visible, rules.height, rules.visible
    )
    kept = _kept(pairs, rules)
    order = np.argsort(-pairs.det_score, kind='stable')
    label = _labels(pairs, rules, iou_thr, kept, ignored, order)
    order = order[(kept & (label != DROPPED))[order]]
    hits = np.cumsum(label[order] == HIT, dtype=np.float64)
    return Curve(
        score=pairs.det_score[order],
        hits=hits,
        misses=np.arange(1, len(order) + 1) - hits,
        num_gts=int((~ignored).sum()),
        num_pictures=pairs.num_pictures,
    )


def _kept(pairs: _Pairs, rules: Rules) -> np.ndarray:
    """Which detections take part, bool, shape (D, )."""
    kept = np.ones(len(pairs.det_score), bool)
    if rules.max_dets is not None:
        best_first = np.lexsort((-pairs.det_score, pairs.det_picture))
        starts = np.searchsorted(pairs.det_picture, np.arange(pairs.num_pictures))
        place = np.arange(len(kept)) - starts[pairs.det_picture]
        kept[best_first] = place < rules.max_dets
    if rules.height_margin is not None:
        low, high = rules.height
        kept &= pairs.det_height >= low / rules.height_margin
        kept &= pairs.det_height < high * rules.height_margin
    return kept


def _labels(
    pairs: _Pairs,
    rules: Rules,
    iou_thr: float,
    kept: np.ndarray,
    ignored: np.ndarray,
    order: np.ndarray,
) -> np.ndarray:
    """``HIT``, ``MISS`` or ``DROPPED`` of each detection, int8, shape (D, )."""
    threshold = pairs.pair_iou.dtype.type(iou_thr)

    def enough(overlap: np.ndarray) -> np.ndarray:
        return overlap >= threshold if rules.at_threshold else overlap > threshold

    usable, close = kept[pairs.pair_det], enough(pairs.pair_iou)
    person = ~ignored[pairs.pair_gt]
    excuses = usable & ~person
    excuses &= enough(pairs.pair_share) if rules.ignore == 'share' else close
    wanted = usable & close & person
    if not rules.second_choice:
        # the favourite alone, which may be an ignore region where those compete
        asked = usable & close & (person | (rules.ignore == 'iou'))
        first = np.zeros(len(asked), bool)
        first[np.flatnonzero(asked)[np.unique(pairs.pair_det[asked], return_index=True)[1]]] = True
        wanted &= first
        if rules.ignore == 'iou':
            excuses &= first
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    matched = deferred_acceptance(
        pairs.pair_det[wanted], pairs.pair_gt[wanted], rank, len(pairs.gt_picture)
    )
    label = np.full(len(kept), MISS, np.int8)
    label[pairs.pair_det[excuses]] = DROPPED
    label[matched >= 0] = HIT
    return label
