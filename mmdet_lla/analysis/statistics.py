"""Intervals of means over seeds and pictures, and of differences between paired runs.

Everything here works on arrays alone. ``values[s, b]`` is a metric of the run with seed ``s`` on
the ``b``-th draw of pictures; all runs see the same draws, and two configs the same draws of seeds,
so their difference is not blurred by what they share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and where it may as well lie.

    Attributes:
        value (float): The mean over seeds, on the pictures as they are.
        low (float): Lower end of the interval.
        high (float): Upper end.
        num_seeds (int): Runs it is the mean of. With one, the interval speaks of pictures alone.
    """

    value: float
    low: float
    high: float
    num_seeds: int

    @property
    def is_noise(self) -> bool:
        """Whether 0 lies in the interval."""
        return self.low <= 0 <= self.high


def draw_pictures(num_pictures: int, num_draws: int, seed: int = 0) -> np.ndarray:
    """How often each picture comes in each draw with replacement.

    Args:
        num_pictures (int): P.
        num_draws (int): B.
        seed (int): Equal seeds give equal draws. Defaults to 0.

    Returns:
        np.ndarray: int64, shape (B, P), each row adding up to P.
    """
    rng = np.random.default_rng([seed, num_pictures])
    return rng.multinomial(num_pictures, np.full(num_pictures, 1 / max(num_pictures, 1)), num_draws)


def draw_seeds(num_seeds: int, num_draws: int, seed: int = 0) -> np.ndarray:
    """How often each of a config's runs comes in each draw with replacement.

    Args:
        num_seeds (int): S.
        num_draws (int): B.
        seed (int): Equal seeds give equal draws. Defaults to 0.

    Returns:
        np.ndarray: int64, shape (B, S), each row adding up to S.
    """
    # Another stream than that of the pictures, even where there are as many.
    rng = np.random.default_rng([seed, num_seeds, 1])
    return rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_draws)


def small_sample_factor(num_seeds: int) -> float:
    """How far the spread of resampled means of so few must be stretched.

    Means of ``S`` values drawn with replacement from ``S`` scatter by the standard deviation that
    divides by ``S`` (not ``S - 1``), and a percentile of theirs knows nothing of how badly so few
    tell their own spread. With 3 seeds, plain percentiles hold the truth in about 3 of 4 cases, not
    in 19 of 20. The factor makes their standard deviation times 1.96 what Student's interval has:
    ``t / z * sqrt(S / (S - 1))``. It tends to 1 for many seeds.
    """
    tail = (1 + LEVEL) / 2
    return (
        stats.t.ppf(tail, num_seeds - 1)
        / stats.norm.ppf(tail)
        * np.sqrt(num_seeds / (num_seeds - 1))
    )


def estimate(points: np.ndarray, values: np.ndarray, seed: int = 0) -> Estimate:
    """Mean over seeds, and the interval of a hierarchical bootstrap over seeds and pictures.

    In each draw, the pictures are those of the draw, and the runs are drawn with replacement too;
    the latter's deviation is stretched by ``small_sample_factor``. That deviation is taken on the
    pictures as they are: on a draw of pictures, runs differ also by what the draw does to each of
    them, which the mean over runs shows already and which must not be stretched.

    Args:
        points (np.ndarray): Metric of each run on the pictures as they are, shape (S, ).
        values (np.ndarray): The same on each draw of pictures, shape (S, B).
        seed (int): Of the draws of runs. Defaults to 0.

    Raises:
        ValueError: There is no run, or shapes do not agree.
    """
    points, values = np.asarray(points, float), np.asarray(values, float)
    if not len(points) or values.ndim != 2 or len(values) != len(points):
        raise ValueError(
            f'points have shape {points.shape} and values {values.shape}, expected '
            '(S, ) and (S, B) with S of at least 1'
        )
    num_seeds, num_draws = values.shape
    means = values.mean(axis=0)
    if num_seeds > 1:
        drawn = draw_seeds(num_seeds, num_draws, seed) @ points / num_seeds
        means = means + small_sample_factor(num_seeds) * (drawn - points.mean())
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Estimate(float(points.mean()), float(low), float(high), num_seeds)


def estimate_fraction(points: np.ndarray, values: np.ndarray, seed: int = 0) -> Estimate:
    """``estimate`` of a number from 0 to 1, whose stretched interval ends where the number does."""
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
    """Mean difference to a baseline over the same seeds and pictures, with its interval.

    Args:
        points (np.ndarray): Metric of each run, shape (S, ).
        values (np.ndarray): On each draw of pictures, shape (S, B).
        base_points (np.ndarray): Of the baseline's runs with the same seeds, shape (S, ).
        base_values (np.ndarray): On the same draws, shape (S, B).
        seed (int): Of the draws of runs. Defaults to 0.
    """
    return estimate(np.subtract(points, base_points), np.subtract(values, base_values), seed)
