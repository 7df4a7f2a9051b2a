"""Bootstrap intervals of metrics over seeds and images, and of differences between paired runs.

All functions take arrays. ``values[s, b]`` is the metric of the run with seed ``s`` on bootstrap
sample ``b`` of the images. All runs share the same samples, so what two configs have in common
cancels in their difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its confidence interval.

    Attributes:
        value (float): Mean over seeds on all images.
        low (float): Lower end of the 95 % interval.
        high (float): Upper end of the 95 % interval.
        num_seeds (int): Number of runs. With one run the interval covers image sampling only.

    >>> Estimate(0.02, -0.01, 0.05, 3).is_inconclusive
    True
    """

    value: float
    low: float
    high: float
    num_seeds: int

    @property
    def is_inconclusive(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def resample_images(num_images: int, num_samples: int, seed: int = 0) -> np.ndarray:
    """Count how often each image occurs in each bootstrap sample.

    Returns:
        np.ndarray: int64, shape (num_samples, num_images); each row sums to ``num_images``.

    >>> resample_images(4, 2).sum(axis=1).tolist()
    [4, 4]
    """
    rng = np.random.default_rng([seed, num_images])
    probs = np.full(num_images, 1 / max(num_images, 1))
    return rng.multinomial(num_images, probs, num_samples)


def resample_seeds(num_seeds: int, num_samples: int, seed: int = 0) -> np.ndarray:
    """Count how often each run occurs in each bootstrap sample; see :func:`resample_images`.

    >>> resample_seeds(3, 2).shape
    (2, 3)
    """
    # The third entry keeps this stream apart from that of the images.
    rng = np.random.default_rng([seed, num_seeds, 1])
    return rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_samples)


def small_sample_factor(num_seeds: int) -> float:
    """Compute the factor by which the spread of resampled means of few runs must be widened.

    Resampled means of ``S`` values have the standard deviation that divides by ``S``, not by
    ``S - 1``, and percentiles ignore how uncertain that deviation is. With 3 seeds, plain
    percentiles cover the true mean in 3 of 4 cases instead of 19 of 20. The factor
    ``t / z * sqrt(S / (S - 1))`` restores Student's interval.

    >>> float(round(small_sample_factor(3), 2))
    2.69
    """
    tail = (1 + LEVEL) / 2
    return (
        stats.t.ppf(tail, num_seeds - 1)
        / stats.norm.ppf(tail)
        * np.sqrt(num_seeds / (num_seeds - 1))
    )


def estimate(points: np.ndarray, values: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the mean over seeds by a hierarchical bootstrap over seeds and images.

    Each bootstrap sample resamples images and runs. The deviation due to runs is computed on all
    images and widened by :func:`small_sample_factor`; the mean over runs already contains the
    deviation due to images.

    Args:
        points (np.ndarray): Metric of each run on all images, shape (num_seeds,).
        values (np.ndarray): Metric of each run and sample of images, shape
            (num_seeds, num_samples).
        seed (int): Seed of the resampling of runs. Defaults to 0.

    Raises:
        ValueError: There is no run, or the shapes do not match.

    >>> estimate(np.array([0.5]), np.array([[0.4, 0.6]])).value
    0.5
    """
    points, values = np.asarray(points, float), np.asarray(values, float)
    if not len(points) or values.ndim != 2 or len(values) != len(points):
        raise ValueError(
            f'points have shape {points.shape} and values {values.shape}, expected '
            '(num_seeds,) and (num_seeds, num_samples) with at least one seed'
        )
    num_seeds, num_samples = values.shape
    means = values.mean(axis=0)  # (num_samples,)
    if num_seeds > 1:
        resampled = resample_seeds(num_seeds, num_samples, seed) @ points / num_seeds
        means = means + small_sample_factor(num_seeds) * (resampled - points.mean())
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Estimate(float(points.mean()), float(low), float(high), num_seeds)


def estimate_fraction(points: np.ndarray, values: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate a number in [0, 1]: :func:`estimate` with the interval clipped to that range.

    >>> estimate_fraction(np.array([1.0]), np.array([[0.9, 1.1]])).high
    1.0
    """
    found = estimate(points, values, seed)
    low, high = np.clip([found.low, found.high], 0, 1).tolist()
    return replace(found, low=low, high=high)


def paired_difference(
    points: np.ndarray,
    values: np.ndarray,
    base_points: np.ndarray,
    base_values: np.ndarray,
    seed: int = 0,
) -> Estimate:
    """Estimate the mean difference to a baseline over the same seeds and images.

    Args:
        points, base_points (np.ndarray): Metric of each run on all images, shape (num_seeds,).
        values, base_values (np.ndarray): Metric of each run and sample of images, shape
            (num_seeds, num_samples).
        seed (int): Seed of the resampling of runs. Defaults to 0.

    >>> one = np.array([0.6]), np.array([[0.6, 0.7]])
    >>> round(paired_difference(*one, np.array([0.5]), np.array([[0.5, 0.6]])).low, 3)
    0.1
    """
    return estimate(np.subtract(points, base_points), np.subtract(values, base_values), seed)
