"""Metrics over the score threshold, the best threshold, and the calibration of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...evaluation.jaccard import maximum_matching
from ...evaluation.matching import FP, IGNORED, TP, CrowdMatches, CrowdPairs

THRESHOLDS = np.arange(0.05, 1.0, 0.05).round(2)
#: Metrics by which a threshold can be chosen, and how each is best.
CRITERIA = {'JI': max, 'F1': max, 'counting_error': min}


@dataclass(frozen=True)
class OperatingPoint:
    """Metrics at one score threshold.

    Attributes:
        threshold (float): Detections of at least this score count.
        metrics (dict[str, float]): ``precision``, ``recall`` and ``F1`` over all gts; ``JI`` and
            ``counting_error`` (absolute difference of counted detections and gts), means over
            images; ``false_positives``, mean per image.
    """

    threshold: float
    metrics: dict[str, float]


def compute_operating_points(pairs: CrowdPairs, matches: CrowdMatches) -> list[OperatingPoint]:
    """Compute the metrics at each of ``THRESHOLDS``; ignored detections do not count.

    Args:
        pairs (CrowdPairs): Pairs of all images.
        matches (CrowdMatches): Matches of the pairs.
    """
    tables = _count_per_image(pairs, matches)
    return [
        OperatingPoint(float(thr), _compute_metrics(table))
        for thr, table in zip(THRESHOLDS, tables, strict=True)
    ]


def _count_per_image(pairs: CrowdPairs, matches: CrowdMatches) -> np.ndarray:
    """TPs, FPs, gts and Jaccard index of each image, shape (T, 4, P)."""
    count, det_image = pairs.count_per_image, pairs.det_image
    num_gts = count(pairs.gt_image)
    close = pairs.pair_iou >= np.float32(matches.iou_thr)
    label = matches.label_by_det()
    tables = []
    for threshold in THRESHOLDS:
        is_shown = pairs.det_score >= threshold
        tp = count(det_image[is_shown & (label == TP)])
        fp = count(det_image[is_shown & (label == FP)])
        usable = close & (is_shown & (label != IGNORED))[pairs.pair_det]
        matched, _ = maximum_matching(pairs.pair_det[usable], pairs.pair_gt[usable], det_image)
        num_matched = count(det_image[matched])
        union = num_gts + tp + fp - num_matched
        # an image without gts and detections counts as 1
        tables.append((tp, fp, num_gts, num_matched / np.maximum(union, 1) + (union == 0)))
    return np.array(tables, dtype=float)


def _compute_metrics(table: np.ndarray, image_counts: np.ndarray | None = None) -> dict[str, float]:
    tp, fp, num_gts, jaccard = table  # (P, ) each
    weights = np.ones(len(tp)) if image_counts is None else np.asarray(image_counts)
    num_images = max(weights.sum(), 1)
    tps, fps, gts = (float((values * weights).sum()) for values in (tp, fp, num_gts))
    return dict(
        precision=tps / max(tps + fps, 1),
        recall=tps / max(gts, 1),
        F1=2 * tps / max(tps + fps + gts, 1),
        JI=float((jaccard * weights).sum() / num_images),
        false_positives=fps / num_images,
        counting_error=float((np.abs(tp + fp - num_gts) * weights).sum() / num_images),
    )


def find_best_thresholds(
    pairs: CrowdPairs,
    matches: CrowdMatches,
    image_counts: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Find the best threshold by each of ``CRITERIA``, with its confidence interval.

    Args:
        pairs, matches: As in :func:`compute_operating_points`.
        image_counts (np.ndarray): How often each image occurs in each bootstrap sample, shape
            (B, P).

    Returns:
        dict[str, dict[str, float]]: ``threshold``, ``value``, and ``low`` and ``high``, the 95 %
        interval of the threshold over the samples.
    """
    tables = _count_per_image(pairs, matches)

    def find_best(name: str, counts: np.ndarray | None) -> tuple[float, float]:
        values = [_compute_metrics(table, counts)[name] for table in tables]
        best = CRITERIA[name](values)
        return float(THRESHOLDS[values.index(best)]), best

    result = {}
    for name in CRITERIA:
        threshold, value = find_best(name, None)
        sampled = [find_best(name, counts)[0] for counts in image_counts] or [threshold]
        low, high = np.percentile(sampled, [2.5, 97.5])
        result[name] = dict(threshold=threshold, value=value, low=float(low), high=float(high))
    return result


def compute_calibration(matches: CrowdMatches, num_bins: int = 10) -> dict:
    """Compute the precision of detections by score.

    Args:
        matches (CrowdMatches): Matches in all images.
        num_bins (int): Bins of equal width from 0 to 1. Defaults to 10.

    Returns:
        dict: ``score`` and ``precision``, means of each non-empty bin, ``count``, and ``ece``, the
        expected calibration error (Naeini et al., AAAI 2015).
    """
    counted = matches.label != IGNORED
    score = np.clip(matches.score[counted], 0, 1)
    is_tp = matches.label[counted] == TP
    bins = np.minimum((score * num_bins).astype(int), num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    used = count > 0
    mean_score, precision = (
        np.bincount(bins, weights=values, minlength=num_bins)[used] / count[used]
        for values in (score, is_tp)
    )
    ece = np.abs(mean_score - precision) @ count[used] / max(len(score), 1)
    return dict(
        score=mean_score.tolist(),
        precision=precision.tolist(),
        count=count[used].tolist(),
        ece=float(ece),
    )
