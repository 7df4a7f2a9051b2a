"""What an error costs: the metrics without it, by oracle correction, as in TIDE.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020
(arXiv 2008.08115), section 3.2. One kind at a time is mended and everything is evaluated anew:

- ``loose``: the best of them for a person nobody found becomes a hit, the others go;
- the other false alarms go;
- a miss whom a detection found, but with too low a score: the detection gets the score threshold;
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
NUDGE = 1e-9  # far below the distance of two scores
GROUPS = {'all false alarms': FALSE_ALARMS, 'all misses': MISSES, 'all': FALSE_ALARMS + MISSES}


@dataclass(frozen=True)
class Price:
    """What one kind costs.

    Attributes:
        kind (str): One of ``FALSE_ALARMS`` or ``MISSES``, or a key of ``GROUPS``.
        metrics (dict[str, float]): AP, MR and JI without it, fractions of 1.
        gain (dict[str, float]): Their difference to what they are; negative is better for MR.
        drawn (np.ndarray): The gain on each draw of pictures, shape (B, 3).
    """

    kind: str
    metrics: dict[str, float]
    gain: dict[str, float]
    drawn: np.ndarray

    @property
    def low(self) -> dict[str, float]:
        """Lower end of the 95 % interval of the gain; the gain itself without draws."""
        return self._end(2.5)

    @property
    def high(self) -> dict[str, float]:
        """Upper end."""
        return self._end(97.5)

    def _end(self, percent: float) -> dict[str, float]:
        if not len(self.drawn):
            return self.gain
        return _named(np.percentile(self.drawn, percent, axis=0))

    def as_dict(self) -> dict:
        """What a JSON file holds of it."""
        names = ('kind', 'metrics', 'gain', 'low', 'high')
        return {name: getattr(self, name) for name in names}


def _named(numbers: np.ndarray) -> dict[str, float]:
    return dict(zip(METRICS, numbers.tolist(), strict=True))


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
        there = any(
            np.isin(getattr(errors, what), _indices(some, names)).any()
            for what, names in (('alarm', FALSE_ALARMS), ('miss', MISSES))
        )
        values = _numbers(corrected(errors, some), errors.iou_thr, mr_ref, draws) if there else base
        differences = values - base
        prices.append(Price(name, _named(values[0]), _named(differences[0]), differences[1:]))
    return prices


def base_metrics(errors: Errors, mr_ref: str = 'CALTECH_-2') -> dict[str, float]:
    """AP, MR and JI as they are, fractions of 1."""
    numbers = _numbers(errors.pairs, errors.iou_thr, mr_ref, np.zeros((0, 0), np.int64))[0]
    return _named(numbers)


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
    gone = np.isin(errors.alarm, _indices(kinds, FALSE_ALARMS))
    score = pairs.det_score.copy()
    pair_det, pair_gt, pair_iou = pairs.pair_det, pairs.pair_gt, pairs.pair_iou.copy()
    lost = np.isin(errors.miss, _indices(kinds, MISSES))
    raised = lost & (errors.found_by >= 0)
    if raised.any():
        lost &= ~raised
        raising = errors.found_by[raised]
        # behind all that are shown already, in the order they had: a mended score must not change
        # who finds whom
        shown = score >= errors.score_thr
        score[shown] += 2 * NUDGE
        score[raising] = errors.score_thr + NUDGE * (1 + np.tanh(score[raising]))
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


def _indices(kinds: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    return [names.index(kind) for kind in kinds if kind in names]


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
