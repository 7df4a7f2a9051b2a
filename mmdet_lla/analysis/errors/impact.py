"""Impact of error types on the metrics, by oracle correction as in TIDE.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020
(arXiv 2008.08115), section 3.2. One type at a time is corrected and everything is evaluated again:

- ``localization``: the best detection of an unmatched gt becomes a TP, the others are removed;
- other false positives are removed;
- a false negative that a detection matched with too low a score: the detection is raised to the
  score threshold;
- other false negatives: the gt is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...evaluation.crowd import CrowdResult
from ...evaluation.jaccard import jaccard_index
from ...evaluation.matching import CrowdPairs, match_crowd
from .types import FN_TYPES, FP_TYPES, Errors

METRICS = ('AP', 'MR', 'JI')
NUDGE = 1e-9  # far below the distance of two scores
#: Corrections of several types at once.
COMBINED = {
    'all false positives': FP_TYPES,
    'all false negatives': FN_TYPES,
    'all': FP_TYPES + FN_TYPES,
}


@dataclass(frozen=True)
class Impact:
    """Impact of one error type: dAP, dMR and dJI.

    Attributes:
        type (str): One of ``FP_TYPES`` or ``FN_TYPES``, or a key of ``COMBINED``.
        metrics (dict[str, float]): AP, MR and JI without the errors, fractions of 1.
        delta (dict[str, float]): Their difference to the actual metrics; negative is better for MR.
        samples (np.ndarray): The difference in each bootstrap sample of images, shape (B, 3).
    """

    type: str
    metrics: dict[str, float]
    delta: dict[str, float]
    samples: np.ndarray

    @property
    def low(self) -> dict[str, float]:
        """Lower end of the 95 % interval of the difference; the difference without samples."""
        return self._percentile(2.5)

    @property
    def high(self) -> dict[str, float]:
        """Upper end of the 95 % interval."""
        return self._percentile(97.5)

    def _percentile(self, percent: float) -> dict[str, float]:
        if not len(self.samples):
            return self.delta
        return _by_metric(np.percentile(self.samples, percent, axis=0))

    def minus(self, other: Impact) -> Impact:
        """Subtract the impact on another detector, on the same bootstrap samples."""
        delta = {metric: self.delta[metric] - other.delta[metric] for metric in METRICS}
        return Impact(self.type, self.metrics, delta, self.samples - other.samples)

    def to_dict(self) -> dict:
        """Convert to a dict for JSON."""
        return {name: getattr(self, name) for name in ('type', 'metrics', 'delta', 'low', 'high')}


def _by_metric(values: np.ndarray) -> dict[str, float]:
    return dict(zip(METRICS, values.tolist(), strict=True))


def compute_impacts(
    errors: Errors, image_counts: np.ndarray, mr_ref: str = 'CALTECH_-2'
) -> list[Impact]:
    """Compute the impact of each type, and of the types in ``COMBINED``.

    Args:
        errors (Errors): Result of ``find_errors``.
        image_counts (np.ndarray): How often each image occurs in each bootstrap sample, shape
            (B, P); without samples the intervals have no width.
        mr_ref (str): Key of ``MR_REFERENCES``.
    """
    base = _evaluate(errors.pairs, errors.iou_thr, mr_ref, image_counts)
    impacts = []
    types = {name: (name,) for name in FP_TYPES + FN_TYPES} | COMBINED
    for name, members in types.items():
        values = base
        if _has_any(errors, members):
            corrected = correct_errors(errors, members)
            values = _evaluate(corrected, errors.iou_thr, mr_ref, image_counts)
        delta = values - base
        impacts.append(Impact(name, _by_metric(values[0]), _by_metric(delta[0]), delta[1:]))
    return impacts


def compute_metrics(errors: Errors) -> dict[str, float]:
    """Compute the actual AP, MR and JI, fractions of 1."""
    no_samples = np.zeros((0, 0), np.int64)
    return _by_metric(_evaluate(errors.pairs, errors.iou_thr, 'CALTECH_-2', no_samples)[0])


def _has_any(errors: Errors, types: tuple[str, ...]) -> bool:
    return bool(
        np.isin(errors.fp_type, _indices(types, FP_TYPES)).any()
        or np.isin(errors.fn_type, _indices(types, FN_TYPES)).any()
    )


def _evaluate(
    pairs: CrowdPairs, iou_thr: float, mr_ref: str, image_counts: np.ndarray
) -> np.ndarray:
    """Metrics on all images and on each bootstrap sample, shape (1 + B, 3)."""
    jaccard = jaccard_index(pairs, iou_thr)
    result = CrowdResult(pairs.img_ids, {iou_thr: match_crowd(pairs, iou_thr)}, jaccard, [], mr_ref)
    rows = []
    for counts in (None, *image_counts):
        scores = result.scores(image_counts=counts)
        rows.append((scores.ap, scores.mr, jaccard.best(counts)))
    return np.array(rows)


def correct_errors(errors: Errors, types: tuple[str, ...]) -> CrowdPairs:
    """Return the detections and gts without some types of errors.

    Args:
        errors (Errors): Result of ``find_errors``.
        types (tuple[str]): Of ``FP_TYPES`` and ``FN_TYPES``.
    """
    pairs = errors.pairs
    remove_det = np.isin(errors.fp_type, _indices(types, FP_TYPES))
    remove_gt = np.isin(errors.fn_type, _indices(types, FN_TYPES))
    score, pair_iou = pairs.det_score.copy(), pairs.pair_iou.copy()
    raised = remove_gt & (errors.matched_det >= 0)
    if raised.any():
        remove_gt &= ~raised
        raised_det = errors.matched_det[raised]
        # below all detections that are shown, in their old order: a corrected score must not
        # change any match
        score[score >= errors.score_thr] += 2 * NUDGE
        score[raised_det] = errors.score_thr + NUDGE * (1 + np.tanh(score[raised_det]))
    if 'localization' in types:
        corrected_det, gt = _correct_localization(errors)
        remove_det[corrected_det] = False
        remove_gt[gt] = False
        new_gt = np.full(len(remove_det), -1, np.int64)
        new_gt[corrected_det] = gt
        # a box that fits its gt fits no other one
        pair_iou[new_gt[pairs.pair_det] >= 0] = 0
        pair_iou[new_gt[pairs.pair_det] == pairs.pair_gt] = 1
    corrected = replace(pairs, det_score=score, pair_iou=pair_iou)
    return _select(corrected, ~remove_det, ~remove_gt)


def _indices(types: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    return [names.index(name) for name in types if name in names]


def _correct_localization(errors: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Localization errors that would be the first to match their gt, and the gt of each."""
    det = np.flatnonzero(errors.fp_type == FP_TYPES.index('localization'))
    det = det[errors.matched_det[errors.fp_gt[det]] < 0]
    det = det[np.argsort(-errors.pairs.det_score[det], kind='stable')]
    gt, first = np.unique(errors.fp_gt[det], return_index=True)
    return det[first], gt


def _select(pairs: CrowdPairs, keep_det: np.ndarray, keep_gt: np.ndarray) -> CrowdPairs:
    """Select detections and gts, which get new numbers; bool, shapes (D, ) and (G, )."""
    new_det, new_gt = np.cumsum(keep_det) - 1, np.cumsum(keep_gt) - 1
    both = keep_det[pairs.pair_det] & keep_gt[pairs.pair_gt]
    return replace(
        pairs,
        det_image=pairs.det_image[keep_det],
        det_score=pairs.det_score[keep_det],
        det_ignore_ioa=pairs.det_ignore_ioa[keep_det],
        gt_image=pairs.gt_image[keep_gt],
        gt_ignore_ioa=pairs.gt_ignore_ioa[keep_gt],
        gt_index=pairs.gt_index[keep_gt],
        pair_det=new_det[pairs.pair_det[both]],
        pair_gt=new_gt[pairs.pair_gt[both]],
        pair_iou=pairs.pair_iou[both],
    )
