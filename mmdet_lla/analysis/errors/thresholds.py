"""What a detector does over its score threshold, and how its scores are to be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...evaluation.jaccard import maximum_matching
from ...evaluation.matching import DROPPED, HIT, CrowdMatches, CrowdPairs

THRESHOLDS = np.arange(0.05, 1.0, 0.05).round(2)
#: How each number is best.
BEST = {'JI': max, 'F1': max, 'counting_error': min}


@dataclass(frozen=True)
class Operating:
    """Numbers at one threshold, by name.

    Attributes:
        threshold (float): Detections of at least this score are shown.
        numbers (dict[str, float]): ``precision``, ``recall``, ``F1`` over all people; ``JI`` and
            ``counting_error`` (mean absolute difference of shown and true people), means over
            pictures; ``false_alarms``, mean of a picture.
    """

    threshold: float
    numbers: dict[str, float]


def operating_points(
    pairs: CrowdPairs,
    matches: CrowdMatches,
    thresholds: np.ndarray = THRESHOLDS,
    picture_counts: np.ndarray | None = None,
) -> list[Operating]:
    """The numbers at each threshold.

    Detections that an ignore region excuses are not shown and not counted.

    Args:
        pairs (CrowdPairs): Of all pictures.
        matches (CrowdMatches): Of the pairs.
        thresholds (np.ndarray): Rising, shape (T, ).
        picture_counts (np.ndarray, optional): How often each picture counts, shape (P, ).
    """
    tables = count_tables(pairs, matches, thresholds)
    return [
        Operating(float(thr), _numbers(tables[i], picture_counts))
        for i, thr in enumerate(thresholds)
    ]


def count_tables(
    pairs: CrowdPairs, matches: CrowdMatches, thresholds: np.ndarray = THRESHOLDS
) -> np.ndarray:
    """Hits, false alarms, people and Jaccard index of each picture, shape (T, 4, P)."""
    count = pairs.num_pictures
    people = np.bincount(pairs.gt_picture, minlength=count)
    close = pairs.pair_iou >= np.float32(matches.iou_thr)
    label = np.empty(len(pairs.det_score), np.int8)
    label[matches.det] = matches.label
    tables = []
    for threshold in thresholds:
        shown = pairs.det_score >= threshold
        hits = np.bincount(pairs.det_picture[shown & (label == HIT)], minlength=count)
        alarms = np.bincount(
            pairs.det_picture[shown & (label != HIT) & (label != DROPPED)], minlength=count
        )
        usable = close & (shown & (label != DROPPED))[pairs.pair_det]
        paired, _ = maximum_matching(
            pairs.pair_det[usable], pairs.pair_gt[usable], pairs.det_picture
        )
        matched = np.bincount(pairs.det_picture[paired], minlength=count)
        union = people + hits + alarms - matched
        tables.append((hits, alarms, people, matched / np.maximum(union, 1) + (union == 0)))
    return np.array(tables, dtype=float)


def _numbers(table: np.ndarray, picture_counts: np.ndarray | None) -> dict[str, float]:
    hits, alarms, people, jaccard = table
    weights = np.ones(len(hits)) if picture_counts is None else np.asarray(picture_counts)
    total = max(weights.sum(), 1)
    tp, fp, gts = (float((values * weights).sum()) for values in (hits, alarms, people))
    return dict(
        precision=tp / max(tp + fp, 1),
        recall=tp / max(gts, 1),
        F1=2 * tp / max(tp + fp + gts, 1),
        JI=float((jaccard * weights).sum() / total),
        false_alarms=fp / total,
        counting_error=float((np.abs(hits + alarms - people) * weights).sum() / total),
    )


def best_thresholds(
    pairs: CrowdPairs,
    matches: CrowdMatches,
    draws: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> dict[str, dict[str, float]]:
    """By number, the threshold that is best for it, with where it may as well lie.

    Args:
        pairs, matches, thresholds: As in :func:`operating_points`.
        draws (np.ndarray): How often each picture comes in each draw, shape (B, P).

    Returns:
        dict[str, dict[str, float]]: ``threshold``, ``value``, and ``low`` and ``high``, the 95 %
        interval of the threshold over the draws.
    """
    tables = count_tables(pairs, matches, thresholds)

    def best(name: str, counts: np.ndarray | None) -> tuple[float, float]:
        values = [_numbers(table, counts)[name] for table in tables]
        chosen = BEST[name](values)
        return float(thresholds[values.index(chosen)]), chosen

    found = {}
    for name in BEST:
        threshold, value = best(name, None)
        drawn = [best(name, counts)[0] for counts in draws] or [threshold]
        low, high = np.percentile(drawn, [2.5, 97.5])
        found[name] = dict(threshold=threshold, value=value, low=float(low), high=float(high))
    return found


def calibration(matches: CrowdMatches, num_bins: int = 10) -> dict:
    """How often detections of a score are right.

    Args:
        matches (CrowdMatches): Of all pictures.
        num_bins (int): Of equal width from 0 to 1. Defaults to 10.

    Returns:
        dict: ``score`` and ``precision``, means of each bin that holds something, ``count``, and
        ``ece``, the expected calibration error: the mean distance of the two over detections
        (Naeini et al., AAAI 2015).
    """
    counted = matches.label != DROPPED
    score = np.clip(matches.score[counted], 0, 1)
    hit = matches.label[counted] == HIT
    place = np.minimum((score * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    held = count > 0
    means = [
        np.bincount(place, weights=values, minlength=num_bins)[held] / count[held]
        for values in (score, hit)
    ]
    distance = np.abs(means[0] - means[1]) @ count[held] / max(len(score), 1)
    return dict(
        score=means[0].tolist(),
        precision=means[1].tolist(),
        count=count[held].tolist(),
        ece=float(distance),
    )
