"""Precision, recall and miss rate over the score threshold, and the metrics read from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import IGNORED, TP, CrowdMatches

#: False positives per image at which the miss rate is read.
MR_REFERENCES = {
    # 10^-2 to 1, Dollar et al., Pedestrian detection: an evaluation of the state of the art
    'CALTECH_-2': (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0),
    # 10^-4 to 1, Zhang et al., CityPersons
    'CALTECH_-4': (0.0001, 0.0003, 0.001, 0.0032, 0.01, 0.0316, 0.1, 0.3162, 1.0),
}


@dataclass(frozen=True)
class Curve:
    """Cumulative counts by descending score; ignored detections are excluded.

    Attributes:
        score (np.ndarray): Score of the detection, shape (N, ).
        tp (np.ndarray): True positives up to here, float64, shape (N, ).
        fp (np.ndarray): False positives up to here, float64, shape (N, ).
        num_gts (int): Number of gts.
        num_images (int): Number of images.
    """

    score: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    num_gts: int
    num_images: int

    @classmethod
    def from_labels(
        cls, score: np.ndarray, is_tp: np.ndarray, num_gts: int, num_images: int
    ) -> Curve:
        """Accumulate TPs and FPs, given by descending score.

        Example:
            >>> curve = Curve.from_labels(np.array([0.9, 0.8]), np.array([True, False]), 2, 1)
            >>> curve.precision.tolist(), curve.recall.tolist()
            ([1.0, 0.5], [0.5, 0.5])
        """
        tp = np.cumsum(is_tp, dtype=np.float64)
        return cls(score, tp, np.arange(1, len(is_tp) + 1) - tp, num_gts, num_images)

    @property
    def recall(self) -> np.ndarray:
        """Fraction of gts detected, shape (N, ); 0 without gts."""
        return self.tp / max(self.num_gts, 1)

    @property
    def precision(self) -> np.ndarray:
        """Fraction of detections that are true positives, shape (N, )."""
        return self.tp / (self.tp + self.fp)

    @property
    def miss_rate(self) -> np.ndarray:
        """Fraction of gts not detected, shape (N, )."""
        return 1.0 - self.recall

    @property
    def fppi(self) -> np.ndarray:
        """False positives per image, shape (N, )."""
        return self.fp / max(self.num_images, 1)


def compute_curve(
    matches: CrowdMatches,
    gt_mask: np.ndarray | None = None,
    image_counts: np.ndarray | None = None,
) -> Curve:
    """Count true and false positives by descending score.

    Args:
        matches (CrowdMatches): Result of ``match_crowd``.
        gt_mask (np.ndarray, optional): Gts that count, bool, shape (G, ). Detections of other gts
            are excluded; all false positives stay, since they belong to no gt. Defaults to all.
        image_counts (np.ndarray, optional): How often each image counts, int, shape (P, ): a
            bootstrap sample, or 0 and 1 for a subset. Defaults to once each.
    """
    keep = matches.label != IGNORED
    if gt_mask is not None:
        gt_mask = np.asarray(gt_mask, dtype=bool)
        is_tp = matches.label == TP
        keep[is_tp] = gt_mask[matches.gt[is_tp]]
    score, is_tp = matches.score[keep], matches.label[keep] == TP
    gt_image = matches.gt_image if gt_mask is None else matches.gt_image[gt_mask]
    num_gts, num_images = len(gt_image), matches.num_images
    if image_counts is not None:
        image_counts = np.asarray(image_counts)
        times = image_counts[matches.image[keep]]
        score, is_tp = np.repeat(score, times), np.repeat(is_tp, times)
        num_gts = int(image_counts[gt_image].sum())
        num_images = int(image_counts.sum())
    return Curve.from_labels(score, is_tp, num_gts, num_images)


def average_precision(curve: Curve) -> float:
    """Compute the area under precision over recall, by trapezoids between detections.

    As in CrowdHuman's evaluation, the strip before the first detection (at most ``1 / num_gts``) is
    not counted, and precision is not made monotone.

    Returns:
        float: 0 to 1; 0 without gts or without detections.

    Example:
        >>> average_precision(Curve.from_labels(np.ones(4), np.ones(4, bool), 4, 1))
        0.75
    """
    recall, precision = curve.recall, curve.precision
    return float(np.sum(np.diff(recall) * (precision[:-1] + precision[1:]) / 2))


def log_average_miss_rate(
    curve: Curve, reference: str = 'CALTECH_-2', read: str = 'reached'
) -> float:
    """Compute the geometric mean of the miss rate at nine reference numbers of FPs per image.

    Args:
        curve (Curve): Cumulative counts.
        reference (str): Key of ``MR_REFERENCES``. Defaults to 'CALTECH_-2'.
        read (str): Where the miss rate of a reference is read. 'reached': at the first detection
            with at least so many false positives, else at the last one (CrowdHuman). 'below': at
            the last detection with at most so many, else 1 (Caltech). 'below or last': else at the
            last detection (script of CityPersons). Defaults to 'reached'.

    Returns:
        float: 0 to 1; 1 without gts or without detections.

    Example:
        >>> curve = Curve.from_labels(np.array([0.9]), np.array([True]), 2, 1)
        >>> round(log_average_miss_rate(curve), 6)
        0.5
    """
    if not len(curve.score) or not curve.num_gts:
        return 1.0
    references = MR_REFERENCES[reference]
    if read == 'reached':
        index = np.searchsorted(curve.fppi, references, side='left')
        return _geometric_mean(curve.miss_rate[np.minimum(index, len(curve.score) - 1)])
    index = np.searchsorted(curve.fppi, references, side='right') - 1
    miss_rate = curve.miss_rate[index]  # index -1 is the last detection
    if read == 'below':
        miss_rate[index < 0] = 1.0
    return _geometric_mean(miss_rate)


def max_recall(curve: Curve) -> float:
    """Compute the fraction of gts detected at any score; 0 without gts.

    Example:
        >>> max_recall(Curve.from_labels(np.array([0.9]), np.array([True]), 2, 1))
        0.5
    """
    return float(curve.recall[-1]) if len(curve.score) else 0.0


def _geometric_mean(values: np.ndarray) -> float:
    """Geometric mean of non-negative numbers; 0 if one of them is 0."""
    if np.any(values <= 0):
        return 0.0
    return float(np.exp(np.log(values).mean()))
