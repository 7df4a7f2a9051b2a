"""Precision, recall and miss rate over the score threshold, and the numbers read off them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import DROPPED, HIT, CrowdMatches

# False positives per picture at which the miss rate is read.
MR_REFERENCES = {
    # 10^-2 to 1, Dollar et al., Pedestrian detection: an evaluation of the state of the art
    'CALTECH_-2': (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0),
    # 10^-4 to 1, Zhang et al., CityPersons
    'CALTECH_-4': (0.0001, 0.0003, 0.001, 0.0032, 0.01, 0.0316, 0.1, 0.3162, 1.0),
}


@dataclass(frozen=True)
class Curve:
    """Counts after each detection, by falling score; detections that count nowhere left out.

    Attributes:
        score (np.ndarray): Score of the detection, shape (N, ).
        hits (np.ndarray): True positives so far, float64, shape (N, ).
        misses (np.ndarray): False positives so far, float64, shape (N, ).
        num_gts (int): People to be found.
        num_pictures (int): Pictures.
    """

    score: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    num_gts: int
    num_pictures: int

    @property
    def recall(self) -> np.ndarray:
        """Share of people found, shape (N, ); 0 where there are none to find."""
        return self.hits / max(self.num_gts, 1)

    @property
    def precision(self) -> np.ndarray:
        """Share of detections that are hits, shape (N, )."""
        return self.hits / (self.hits + self.misses)

    @property
    def miss_rate(self) -> np.ndarray:
        """Share of people not found, shape (N, )."""
        return 1.0 - self.recall

    @property
    def fppi(self) -> np.ndarray:
        """False positives per picture, shape (N, )."""
        return self.misses / max(self.num_pictures, 1)


def curve_of(
    matches: CrowdMatches,
    gt_mask: np.ndarray | None = None,
    picture_counts: np.ndarray | None = None,
) -> Curve:
    """Count along falling score.

    Args:
        matches (CrowdMatches): What ``match_crowd`` gives.
        gt_mask (np.ndarray, optional): Which people count, bool, shape (G, ). Detections that found
            one of the others are left out; false positives all stay, for they belong to nobody.
            Defaults to all.
        picture_counts (np.ndarray, optional): How often each picture counts, int, shape (P, ): a
            bootstrap draw, or 0 and 1 for a subset. Defaults to once each.

    Returns:
        Curve: The counts.
    """
    keep = matches.label != DROPPED
    if gt_mask is not None:
        gt_mask = np.asarray(gt_mask, dtype=bool)
        hit = matches.label == HIT
        keep[hit] = gt_mask[matches.gt[hit]]
    score, hits = matches.score[keep], matches.label[keep] == HIT
    counted = np.ones(len(matches.gt_picture), bool) if gt_mask is None else gt_mask
    num_pictures = matches.num_pictures
    gt_picture = matches.gt_picture[counted]
    num_gts = len(gt_picture)
    if picture_counts is not None:
        picture_counts = np.asarray(picture_counts)
        times = picture_counts[matches.picture[keep]]
        score, hits = np.repeat(score, times), np.repeat(hits, times)
        num_gts = int(picture_counts[gt_picture].sum())
        num_pictures = int(picture_counts.sum())
    found = np.cumsum(hits, dtype=np.float64)
    return Curve(
        score=score,
        hits=found,
        misses=np.arange(1, len(hits) + 1) - found,
        num_gts=num_gts,
        num_pictures=num_pictures,
    )


def average_precision(curve: Curve) -> float:
    """Area under precision over recall, by trapezoids between detections.

    As in CrowdHuman's evaluation, the strip before the first detection (at most ``1 / num_gts``) is
    not counted, and precision is not made monotone.

    Returns:
        float: 0 to 1; 0 where there is nothing to find or nothing detected.
    """
    recall, precision = curve.recall, curve.precision
    return float(np.sum(np.diff(recall) * (precision[:-1] + precision[1:]) / 2))


def log_average_miss_rate(curve: Curve, reference: str = 'CALTECH_-2') -> float:
    """Geometric mean of the miss rate at nine numbers of false positives per picture.

    The miss rate is read at the first detection that reaches the number, or at the last one if
    none does, as in CrowdHuman's evaluation.

    Args:
        curve (Curve): What ``curve_of`` gives.
        reference (str): A key of ``MR_REFERENCES``. Defaults to 'CALTECH_-2'.

    Returns:
        float: 0 to 1; 1 where there is nothing to find or nothing detected.
    """
    if not len(curve.score) or not curve.num_gts:
        return 1.0
    places = np.searchsorted(curve.fppi, MR_REFERENCES[reference], side='left')
    return geometric_mean(curve.miss_rate[np.minimum(places, len(curve.score) - 1)])


def max_recall(curve: Curve) -> float:
    """Share of people found by any detection at all; 0 where there is nobody to find."""
    return float(curve.recall[-1]) if len(curve.score) else 0.0


def geometric_mean(values: np.ndarray) -> float:
    """Geometric mean of numbers that are not negative; 0 when one of them is."""
    if np.any(values <= 0):
        return 0.0
    return float(np.exp(np.log(values).mean()))
