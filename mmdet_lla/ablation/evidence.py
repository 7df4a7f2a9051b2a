"""What the runs of a study say together: means, differences, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..analysis.statistics import Estimate, estimate_fraction, paired_difference, resample_images
from ..analysis.test_sets import LOWER_IS_BETTER, METRICS, summarize
from ..evaluation.crowd import GROUPS, CrowdResult

VERDICTS = ('better', 'worse', 'noise', 'one seed', 'equal')
GROUP_METRICS = ('AP', 'recall')


@dataclass(frozen=True)
class Evidence:
    """Evaluations of one config.

    Attributes:
        name (str): Of the config.
        results (dict[int, CrowdResult]): By seed, at least one, all of the same pictures.
    """

    name: str
    results: dict[int, CrowdResult]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted(self.results))

    @property
    def img_ids(self) -> list:
        return next(iter(self.results.values())).img_ids


@dataclass(frozen=True)
class Weighed:
    """Numbers of one config.

    Attributes:
        name (str): Of the config.
        means (dict[str, Estimate]): By metric, fractions of 1.
        differences (dict[str, Estimate] | None): To the baseline, over the seeds that both have;
            None for the baseline itself and where there is nothing to compare.
    """

    name: str
    means: dict[str, Estimate]
    differences: dict[str, Estimate] | None


def verdict(metric: str, difference: Estimate) -> str:
    """A plain word for a difference: one of ``VERDICTS``.

    One seed says nothing of the noise of training, so nothing is made of it.
    """
    if difference.value == difference.low == difference.high == 0:
        return 'equal'
    if difference.num_seeds == 1:
        return 'one seed'
    if difference.is_inconclusive:
        return 'noise'
    return 'better' if (difference.value > 0) != (metric in LOWER_IS_BETTER) else 'worse'


def weigh(
    evidence: Sequence[Evidence], num_draws: int = 1000, seed: int = 0, watch=lambda items: items
) -> list[Weighed]:
    """Means over seeds, paired differences to the first, and intervals of both.

    Args:
        evidence (Sequence[Evidence]): The baseline first.
        num_draws (int): Of the bootstrap. Defaults to 1000.
        seed (int): Of the draws. Defaults to 0.
        watch (Callable): Wraps what is gone through, to show progress.

    Returns:
        list[Weighed]: One each, in order.
    """
    points: dict[tuple[str, int], np.ndarray] = {}
    values: dict[tuple[str, int], np.ndarray] = {}
    todo = [(one.name, s, one.results[s]) for one in evidence for s in one.seeds]
    for name, s, result in watch(todo):
        counts = resample_images(len(result.img_ids), num_draws, seed)
        points[name, s] = _numbers(result)
        values[name, s] = np.array([_numbers(result, row) for row in counts]).T

    def taken(source: dict, name: str, seeds: Iterable[int], i: int) -> np.ndarray:
        return np.array([source[name, s][i] for s in seeds])

    weighed = []
    base = evidence[0]
    for one in evidence:
        means = {
            metric: estimate_fraction(
                taken(points, one.name, one.seeds, i), taken(values, one.name, one.seeds, i), seed
            )
            for i, metric in enumerate(METRICS)
        }
        differences = None
        shared = [s for s in one.seeds if s in base.results]
        if one is not base and shared and one.img_ids == base.img_ids:
            differences = {
                metric: paired_difference(
                    taken(points, one.name, shared, i),
                    taken(values, one.name, shared, i),
                    taken(points, base.name, shared, i),
                    taken(values, base.name, shared, i),
                    seed,
                )
                for i, metric in enumerate(METRICS)
            }
        weighed.append(Weighed(one.name, means, differences))
    return weighed


def _numbers(result: CrowdResult, picture_counts: np.ndarray | None = None) -> np.ndarray:
    numbers = summarize(result, picture_counts)
    return np.array([numbers[metric] for metric in METRICS])


@dataclass(frozen=True)
class Group:
    """People with something in common, and how well a config finds them.

    Attributes:
        low (float): Lower end of the trait.
        high (float): Upper end.
        num_people (int): In the pictures as they are.
        means (dict[str, Estimate]): By metric of ``GROUP_METRICS``.
    """

    low: float
    high: float
    num_people: int
    means: dict[str, Estimate]


def weigh_groups(one: Evidence, trait: str, num_draws: int = 200, seed: int = 0) -> list[Group]:
    """AP and recall of a config by a trait of people; groups without people are left out.

    Args:
        one (Evidence): Evaluations of the config.
        trait (str): A key of ``GROUPS``.
        num_draws (int): Of the bootstrap. Defaults to 200.
        seed (int): Of the draws. Defaults to 0.
    """
    results = [one.results[s] for s in one.seeds]
    counts = resample_images(len(one.img_ids), num_draws, seed)
    groups = []
    for (low, high), mask in results[0].groups(trait).items():
        if not mask.any():
            continue

        def numbers(result: CrowdResult, row: np.ndarray | None = None, mask=mask) -> tuple:
            scores = result.scores(mask, row)
            return scores.ap, scores.recall

        points = np.array([numbers(result) for result in results])
        values = np.array([[numbers(result, row) for row in counts] for result in results])
        groups.append(
            Group(
                low,
                high,
                int(mask.sum()),
                {
                    metric: estimate_fraction(points[:, i], values[:, :, i], seed)
                    for i, metric in enumerate(GROUP_METRICS)
                },
            )
        )
    return groups


def traits_of(evidence: Sequence[Evidence]) -> list[str]:
    """Traits that are known of anybody in the pictures of every config."""
    return [
        trait
        for trait in GROUPS
        if all(
            np.isfinite(next(iter(one.results.values())).traits[trait]).any() for one in evidence
        )
    ]


def mean_precision(results: Iterable[CrowdResult], recall: np.ndarray) -> np.ndarray:
    """Mean over runs of the precision at some recalls, NaN beyond what any run reaches.

    Args:
        results (Iterable[CrowdResult]): Evaluations.
        recall (np.ndarray): Rising, shape (N, ).

    Returns:
        np.ndarray: Shape (N, ).
    """
    curves = [result.curve() for result in results]
    return np.mean([_read(curve.recall, curve.precision, recall) for curve in curves], axis=0)


def mean_miss_rate(results: Iterable[CrowdResult], fppi: np.ndarray) -> np.ndarray:
    """Mean over runs of the miss rate at some numbers of false positives per picture.

    Args:
        results (Iterable[CrowdResult]): Evaluations.
        fppi (np.ndarray): Rising, shape (N, ). Beyond a run's last, its last miss rate holds.

    Returns:
        np.ndarray: Shape (N, ).
    """
    rates = []
    for result in results:
        curve = result.curve()
        # The first detection that reaches the number, as the log-average miss rate reads it.
        at = np.searchsorted(curve.fppi, fppi, side='left')
        rate = np.append(curve.miss_rate, curve.miss_rate[-1] if len(curve.score) else 1.0)
        rates.append(rate[np.minimum(at, len(rate) - 1)])
    return np.mean(rates, axis=0)


def _read(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Straight lines between points; NaN beyond the last."""
    if not len(x):
        return np.full(len(at), np.nan)
    return np.interp(at, x, y, right=np.nan)
