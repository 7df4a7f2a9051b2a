"""What an error costs: the metrics without it, by oracle correction, as in TIDE.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020
(arXiv 2008.08115), section 3.2. One kind at a time is mended and everything is evaluated anew:

- ``loose``: the best of them for a person nobody found becomes a hit, the others go;
- the other false alarms go;
- ``low``: the detection that found the person gets the score threshold as its score; a person whom
  none found but a close one proposes is taken out, as below;
- the other misses: the person is taken out of those to be found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...evaluation.crowd import CrowdResult
from ...evaluation.jaccard import jaccard_index
from ...evaluation.matching import CrowdPairs, match_crowd
from .kinds import FALSE_ALARMS, MISSES, Errors

METRICS = ('AP', 'MR', 'JI')
GROUPS = {'all false alarms': FALSE_ALARMS, 'all misses': MISSES, 'all': FALSE_ALARMS + MISSES}


@dataclass(frozen=True)
class Price:
    """What one kind costs.

    Attributes:
        kind (str): One of ``FALSE_ALARMS`` or ``MISSES``, or a key of ``GROUPS``.
        metrics (dict[str, float]): AP, MR and JI without it, fractions of 1.
        gain (dict[str, float]): Their difference to what they are; negative is better for MR.
        low, high (dict[str, float]): 95 % interval of the difference over draws of pictures.
    """

    kind: str
    metrics: dict[str, float]
    gain: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]


def price_errors(errors: Errors, draws: np.ndarray, mr_ref: str = 'CALTECH_-2') -> list[Price]:
    """Price of each kind, of all false alarms, of all misses, and of all.

    Args:
        errors (Errors): What :func:`~mmdet_lla.analysis.errors.find_errors` gives.
        draws (np.ndarray): How often each picture comes in each draw, shape (B, P); with none, the
            intervals have no width.
        mr_ref (str): Key of ``MR_REFERENCES``.
    """
    base = _numbers(errors.pairs, errors.iou_thr, mr_ref, draws)
    prices = []
    kinds = {kind: (kind,) for kind in FALSE_ALARMS + MISSES} | GROUPS
    for name, some in kinds.items():
        values = _numbers(corrected(errors, some), errors.iou_thr, mr_ref, draws)
        differences = values - base
        ends = np.percentile(differences[1:] if len(draws) else differences, [2.5, 97.5], axis=0)
        columns = (values[0], differences[0], *ends)
        prices.append(Price(name, *(dict(zip(METRICS, c.tolist(), strict=True)) for c in columns)))
    return prices


def base_metrics(errors: Errors, mr_ref: str = 'CALTECH_-2') -> dict[str, float]:
    """AP, MR and JI as they are, fractions of 1."""
    numbers = _numbers(errors.pairs, errors.iou_thr, mr_ref, np.zeros((0, 0), np.int64))[0]
    return dict(zip(METRICS, numbers.tolist(), strict=True))


def _numbers(pairs: CrowdPairs, iou_thr: float, mr_ref: str, draws: np.ndarray) -> np.ndarray:
    """The metrics on the pictures as they are and on each draw, shape (1 + B, 3)."""
    jaccard = jaccard_index(pairs, iou_thr)
    result = CrowdResult(pairs.img_ids, {iou_thr: match_crowd(pairs, iou_thr)}, jaccard, [], mr_ref)
    rows = []
    for counts in (None, *draws):
        scores = result.scores(picture_counts=counts)
        rows.append((scores.ap, scores.mr, jaccard.best(counts)))
    return np.array(rows)


def corrected(errors: Errors, kinds: tuple[str, ...]) -> CrowdPairs:
    """The detections and people as they would be without some kinds of error.

    Args:
        errors (Errors): What is.
        kinds (tuple[str]): Of ``FALSE_ALARMS`` and ``MISSES``.
    """
    pairs = errors.pairs
    alarms = [FALSE_ALARMS.index(kind) for kind in kinds if kind in FALSE_ALARMS]
    misses = [MISSES.index(kind) for kind in kinds if kind in MISSES]
    gone = np.isin(errors.alarm, alarms)
    score = pairs.det_score.copy()
    pair_det, pair_gt, pair_iou = pairs.pair_det, pairs.pair_gt, pairs.pair_iou.copy()
    lost = np.isin(errors.miss, misses)
    if 'low' in kinds:
        raised = lost & (errors.miss == MISSES.index('low')) & (errors.found_by >= 0)
        lost &= ~raised
        raising = errors.found_by[raised]
        score[raising] = np.maximum(score[raising], errors.score_thr)
    if 'loose' in kinds:
        mended, person = _mend_loose(errors)
        gone[mended] = False
        lost[person] = False
        to = np.full(len(gone), -1, np.int64)
        to[mended] = person
        # a box that fits its person fits nobody else
        pair_iou[to[pair_det] >= 0] = 0
        pair_iou[to[pair_det] == pair_gt] = 1
    return _keep(
        replace(pairs, det_score=score, pair_det=pair_det, pair_gt=pair_gt, pair_iou=pair_iou),
        ~gone,
        ~lost,
    )


def _mend_loose(errors: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Loose detections that would be the first to find their person, and the person of each."""
    loose = np.flatnonzero(errors.alarm == FALSE_ALARMS.index('loose'))
    loose = loose[errors.found_by[errors.alarm_gt[loose]] < 0]
    loose = loose[np.argsort(-errors.pairs.det_score[loose], kind='stable')]
    person, first = np.unique(errors.alarm_gt[loose], return_index=True)
    return loose[first], person


def _keep(pairs: CrowdPairs, dets: np.ndarray, gts: np.ndarray) -> CrowdPairs:
    """Some detections and people, numbered anew; bool, shapes (D, ) and (G, )."""
    new_det, new_gt = np.cumsum(dets) - 1, np.cumsum(gts) - 1
    both = dets[pairs.pair_det] & gts[pairs.pair_gt]
    return replace(
        pairs,
        det_picture=pairs.det_picture[dets],
        det_score=pairs.det_score[dets],
        det_ignored=pairs.det_ignored[dets],
        gt_picture=pairs.gt_picture[gts],
        gt_ignored=pairs.gt_ignored[gts],
        gt_index=pairs.gt_index[gts],
        pair_det=new_det[pairs.pair_det[both]],
        pair_gt=new_gt[pairs.pair_gt[both]],
        pair_iou=pairs.pair_iou[both],
    )
