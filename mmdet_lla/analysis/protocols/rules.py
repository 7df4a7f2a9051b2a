"""Rules in which evaluations of detections differ, as switches of one evaluation.

With the defaults of all switches the evaluation is CrowdHuman's. ``toolkits`` defines the switches
of the other evaluations; with them, the metrics equal those of each evaluation's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...evaluation.annotations import CrowdAnnotation, CrowdDetections
from ...evaluation.citypersons import BoxPairs, Setup
from ...evaluation.curves import Curve, average_precision, log_average_miss_rate, max_recall
from ...evaluation.matching import FP, IGNORED, TP, match_greedily
from ...evaluation.overlaps import clip_boxes, concat_arrays, concat_boxes, stack_image_sizes

NO_LIMIT = (0.0, float('inf'))


@dataclass(frozen=True)
class Rules:
    """Rules of an evaluation; the defaults are CrowdHuman's.

    Attributes:
        clip (bool): Clip boxes to the image.
        inclusive (bool): A box includes its right and bottom pixel, so sides are one longer.
        height (tuple[float, float]): Gts whose height in pixels is outside are ignore regions.
        visible (tuple[float, float]): Likewise for their visible fraction.
        height_margin (float, optional): Detections smaller or larger than ``height`` by more than
            this factor are excluded. None excludes none.
        aspect_ratio (float, optional): Detections and counted gts get this width over height around
            their center. None leaves boxes unchanged.
        max_dets (int, optional): Number of best detections per image that count. None counts all.
        iou_thrs (tuple[float]): Metrics are means over these thresholds, which are at least 0.5.
        at_threshold (bool): An overlap equal to the threshold is enough.
        later_of_equals (bool): Of gts with equal IoU a detection takes the last, not the first.
        second_choice (bool): A detection whose best gt is taken gets the best free one.
        ignore (str): Overlap that excuses a detection at an ignore region: 'ioa', the fraction of
            the detection inside; 'iou', their IoU, with which regions compete with gts.
        area (str): AP is the area under precision over recall: 'trapezoids' between detections;
            'envelope', under the highest precision at any higher recall; '11 points' and
            '101 points', the mean of the envelope at so many recalls.
        read (str): Where the miss rate is read; see ``log_average_miss_rate``.
        decimals (int, optional): Metrics are rounded to this many decimals.
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
    ignore: str = 'ioa'
    area: str = 'trapezoids'
    read: str = 'reached'
    decimals: int | None = None

    @property
    def setup(self) -> Setup:
        """The gts that count."""
        return Setup(self.height, self.visible)


@dataclass
class ProtocolEvaluator:
    """Evaluates one set of detections under any rules and caches intermediate results.

    Example:
        >>> gts = [CrowdAnnotation.create('a', [[0, 0, 10, 20]])]
        >>> dets = [CrowdDetections.create('a', [[0, 0, 10, 10]], [0.9], 100, 100)]
        >>> evaluator = ProtocolEvaluator(gts, dets)
        >>> [evaluator.evaluate(Rules(at_threshold=at))['recall'] for at in (False, True)]
        [0.0, 1.0]
    """

    annotations: Sequence[CrowdAnnotation]
    detections: Sequence[CrowdDetections]
    _pairs: dict[tuple, BoxPairs] = field(default_factory=dict)
    _curves: dict[tuple, Curve] = field(default_factory=dict)

    def evaluate(self, rules: Rules) -> dict[str, float]:
        """Compute AP, MR and recall under the rules, fractions of 1."""
        curves = [self._compute_curve(rules, thr) for thr in rules.iou_thrs]
        metrics = dict(
            AP=float(np.mean([AREAS[rules.area](curve) for curve in curves])),
            MR=float(np.mean([log_average_miss_rate(curve, read=rules.read) for curve in curves])),
            recall=float(np.mean([max_recall(curve) for curve in curves])),
        )
        if rules.decimals is not None:
            metrics = {name: round(value, rules.decimals) for name, value in metrics.items()}
        return metrics

    def _compute_curve(self, rules: Rules, iou_thr: float) -> Curve:
        key = (
            (rules.clip, rules.inclusive, rules.height, rules.visible, rules.height_margin),
            (rules.aspect_ratio, rules.max_dets, iou_thr, rules.at_threshold),
            (rules.later_of_equals, rules.second_choice, rules.ignore),
        )
        if key not in self._curves:
            self._curves[key] = _match(self._collect_pairs(rules), rules, iou_thr)
        return self._curves[key]

    def _collect_pairs(self, rules: Rules) -> BoxPairs:
        key: tuple = (rules.clip, rules.inclusive, rules.aspect_ratio, rules.later_of_equals)
        if rules.aspect_ratio is not None:
            key += (rules.height, rules.visible)  # only counted gts are reshaped
        if key not in self._pairs:
            self._pairs[key] = _collect_pairs(self.annotations, self.detections, rules)
        return self._pairs[key]


def _compute_envelope(curve: Curve) -> np.ndarray:
    """Highest precision at any higher recall, shape (N, )."""
    return np.maximum.accumulate(curve.precision[::-1])[::-1]


def _area_of_envelope(curve: Curve) -> float:
    return float(np.sum(np.diff(curve.recall, prepend=0) * _compute_envelope(curve)))


def _mean_at_recalls(recalls: np.ndarray) -> Callable[[Curve], float]:
    def mean_precision(curve: Curve) -> float:
        index = np.searchsorted(curve.recall, recalls, side='left')
        return float(np.mean(np.append(_compute_envelope(curve), 0.0)[index]))

    return mean_precision


# Recalls as mmdet and pycocotools compute them, since some are reached exactly.
AREAS: dict[str, Callable[[Curve], float]] = {
    'trapezoids': average_precision,
    'envelope': _area_of_envelope,
    '11 points': _mean_at_recalls(np.arange(0, 1 + 1e-3, 0.1)),
    '101 points': _mean_at_recalls(np.linspace(0.0, 1.0, 101)),
}


def reshape_boxes(boxes: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """Give boxes another width over height, keeping height and center; shape (n, 4).

    Example:
        >>> reshape_boxes(np.array([[0.0, 0, 20, 10]]), 1).tolist()
        [[5.0, 0.0, 15.0, 10.0]]
    """
    boxes = boxes.copy()
    center = (boxes[:, 0] + boxes[:, 2]) / 2
    half_width = aspect_ratio * (boxes[:, 3] - boxes[:, 1]) / 2
    boxes[:, 0], boxes[:, 2] = center - half_width, center + half_width
    return boxes


def _collect_pairs(
    annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections], rules: Rules
) -> BoxPairs:
    dets, det_starts = concat_boxes([one.boxes for one in detections])
    gts, gt_starts = concat_boxes([one.boxes for one in annotations])
    det_height, gt_height = dets[:, 3] - dets[:, 1], gts[:, 3] - gts[:, 1]
    if rules.aspect_ratio is not None:
        ignored = concat_arrays([one.ignored for one in annotations], bool)
        visible = concat_arrays([one.visible for one in annotations], np.float64)
        counted = ~ignored & ~rules.setup.excludes(gt_height, visible)
        dets = reshape_boxes(dets, rules.aspect_ratio)
        gts[counted] = reshape_boxes(gts[counted], rules.aspect_ratio)
    if rules.clip:
        sizes = stack_image_sizes(detections)
        dets = clip_boxes(dets, np.repeat(sizes, np.diff(det_starts), axis=0))
        gts = clip_boxes(gts, np.repeat(sizes, np.diff(gt_starts), axis=0))
    if rules.inclusive:
        dets, gts = dets.copy(), gts.copy()
        dets[:, 2:] += 1
        gts[:, 2:] += 1
    return BoxPairs.collect(
        annotations,
        dets,
        det_starts,
        gts,
        gt_starts,
        prefer_last=rules.later_of_equals,
        det_score=concat_arrays([one.scores for one in detections], np.float64),
        det_height=det_height,
        gt_height=gt_height,
    )


def _match(pairs: BoxPairs, rules: Rules, iou_thr: float) -> Curve:
    """Match detections and gts under the rules, and count."""
    ignored = pairs.gt_ignored | rules.setup.excludes(pairs.gt_height, pairs.gt_visible)
    kept = _select_detections(pairs, rules)
    order = np.argsort(-pairs.det_score, kind='stable')
    label = _label_detections(pairs, rules, iou_thr, kept, ignored, order)
    order = order[(kept & (label != IGNORED))[order]]
    num_gts = int((~ignored).sum())
    return Curve.from_labels(pairs.det_score[order], label[order] == TP, num_gts, pairs.num_images)


def _select_detections(pairs: BoxPairs, rules: Rules) -> np.ndarray:
    """Detections that count, bool, shape (D, )."""
    kept = np.ones(len(pairs.det_score), bool)
    if rules.max_dets is not None:
        best_first = np.lexsort((-pairs.det_score, pairs.det_image))
        starts = np.searchsorted(pairs.det_image, np.arange(pairs.num_images))
        rank = np.arange(len(kept)) - starts[pairs.det_image]
        kept[best_first] = rank < rules.max_dets
    if rules.height_margin is not None:
        low, high = rules.height
        kept &= pairs.det_height >= low / rules.height_margin
        kept &= pairs.det_height < high * rules.height_margin
    return kept


def _label_detections(
    pairs: BoxPairs,
    rules: Rules,
    iou_thr: float,
    kept: np.ndarray,
    ignored: np.ndarray,
    order: np.ndarray,
) -> np.ndarray:
    """``TP``, ``FP`` or ``IGNORED`` of each detection, int8, shape (D, )."""
    threshold = pairs.pair_iou.dtype.type(iou_thr)

    def reaches(overlap: np.ndarray) -> np.ndarray:
        return overlap >= threshold if rules.at_threshold else overlap > threshold

    usable, close = kept[pairs.pair_det], reaches(pairs.pair_iou)
    is_gt = ~ignored[pairs.pair_gt]
    excused = usable & ~is_gt
    excused &= reaches(pairs.pair_ioa) if rules.ignore == 'ioa' else close
    candidates = usable & close & is_gt
    if not rules.second_choice:
        # only the first choice, which may be an ignore region where those compete
        choices = usable & close & (is_gt | (rules.ignore == 'iou'))
        first = np.zeros(len(choices), bool)
        first_of_det = np.unique(pairs.pair_det[choices], return_index=True)[1]
        first[np.flatnonzero(choices)[first_of_det]] = True
        candidates &= first
        if rules.ignore == 'iou':
            excused &= first
    matched = match_greedily(
        pairs.pair_det[candidates], pairs.pair_gt[candidates], order, len(ignored)
    )
    label = np.full(len(kept), FP, np.int8)
    label[pairs.pair_det[excused]] = IGNORED
    label[matched >= 0] = TP
    return label
