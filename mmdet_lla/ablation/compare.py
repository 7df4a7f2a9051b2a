"""Compare the runs of a study: means over seeds, paired differences, groups of gts, error types."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.errors import (
    FN_TYPES,
    FP_TYPES,
    compute_impacts,
    find_best_thresholds,
    find_errors,
)
from ..analysis.statistics import (
    Estimate,
    estimate,
    estimate_fraction,
    paired_difference,
    resample_images,
)
from ..analysis.test_sets import LOWER_IS_BETTER, METRICS, TestSet, summarize
from ..evaluation.annotations import CrowdDetections
from ..evaluation.crowd import ATTRIBUTE_EDGES, CrowdResult

SIGNIFICANCES = ('better', 'worse', 'inconclusive', 'one seed', 'equal')
GROUP_METRICS = ('AP', 'recall')
ERROR_TYPES = FP_TYPES + FN_TYPES
#: Numbers of each error type: errors per gt, impact on AP, impact on MR. Lower is better.
ERROR_NUMBERS = ('rate', 'AP', 'MR')
ERROR_KEYS = [(number, kind) for number in ERROR_NUMBERS for kind in ERROR_TYPES]


@dataclass(frozen=True)
class RunResults:
    """Evaluations of one config.

    Attributes:
        name (str): Name of the config.
        results (dict[int, CrowdResult]): At least one evaluation by seed, on the same images.
    """

    name: str
    results: dict[int, CrowdResult]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds in increasing order."""
        return tuple(sorted(self.results))

    @property
    def img_ids(self) -> list:
        """IDs of the evaluated images."""
        return next(iter(self.results.values())).img_ids


@dataclass(frozen=True)
class Comparison:
    """Means of one config and its differences to the baseline.

    Attributes:
        name (str): Name of the config.
        means (dict[str, Estimate]): By metric, fractions of 1.
        differences (dict[str, Estimate] | None): By metric, over the seeds that both have. None for
            the baseline, and without common seeds or images.
    """

    name: str
    means: dict[str, Estimate]
    differences: dict[str, Estimate] | None


def significance(metric: str, difference: Estimate) -> str:
    """Classify a difference as one of ``SIGNIFICANCES``.

    One seed carries no information about the variance between trainings.

    >>> significance('MR', Estimate(-0.02, -0.03, -0.01, 3))
    'better'
    """
    if difference.value == difference.low == difference.high == 0:
        return 'equal'
    if difference.num_seeds == 1:
        return 'one seed'
    if difference.is_inconclusive:
        return 'inconclusive'
    return 'better' if (difference.value > 0) != (metric in LOWER_IS_BETTER) else 'worse'


def compare_runs(
    configs: Sequence[RunResults],
    num_samples: int = 1000,
    track: Callable[[Sequence], Iterable] = iter,
) -> list[Comparison]:
    """Compute means over seeds, paired differences to the first config, and their intervals.

    Args:
        configs (Sequence[RunResults]): Results per config, the baseline first.
        num_samples (int): Bootstrap samples. Defaults to 1000.
        track (Callable): Wraps the sequence of runs, for a progress bar.
    """
    runs: dict[str, dict[int, RunNumbers]] = {}
    for config, seed in track([(one, seed) for one in configs for seed in one.seeds]):
        result = config.results[seed]
        counts = resample_images(len(result.img_ids), num_samples)
        values = np.array([_metric_array(result, row) for row in counts])
        numbers = RunNumbers(result.img_ids, _metric_array(result), values.T)
        runs.setdefault(config.name, {})[seed] = numbers
    return [Comparison(*one) for one in _compare(runs, METRICS, estimate_fraction)]


@dataclass(frozen=True)
class RunNumbers:
    """Numbers of one run, fractions of 1.

    Attributes:
        img_ids (list): Image IDs.
        points (np.ndarray): Each number on all images, shape (num_numbers,).
        values (np.ndarray): Each number on each bootstrap sample, shape (num_numbers, num_samples).
    """

    img_ids: list
    points: np.ndarray
    values: np.ndarray


def _compare(
    runs: Mapping[str, Mapping[int, RunNumbers]],
    keys: Sequence[Hashable],
    mean: Callable[[np.ndarray, np.ndarray], Estimate],
) -> Iterator[tuple[str, dict[Any, Estimate], dict[Any, Estimate] | None]]:
    """Yield name, means and differences of each config, by the keys of its numbers.

    Differences are over the seeds that a config has in common with the first one. They are None for
    the first one, and without common seeds or images.
    """

    def select(some: Mapping[int, RunNumbers], seeds: Iterable[int], i: int) -> tuple:
        pairs = [(some[seed].points[i], some[seed].values[i]) for seed in seeds]
        points, values = zip(*pairs, strict=True)
        return np.array(points), np.array(values)

    first, base = next(iter(runs.items()))
    base_ids = next(iter(base.values())).img_ids
    for name, own in runs.items():
        means = {key: mean(*select(own, sorted(own), i)) for i, key in enumerate(keys)}
        differences = None
        common = [seed for seed in sorted(own) if seed in base]
        if name != first and common and next(iter(own.values())).img_ids == base_ids:
            differences = {
                key: paired_difference(*select(own, common, i), *select(base, common, i))
                for i, key in enumerate(keys)
            }
        yield name, means, differences


def _metric_array(result: CrowdResult, image_counts: np.ndarray | None = None) -> np.ndarray:
    numbers = summarize(result, image_counts)
    return np.array([numbers[metric] for metric in METRICS])


@dataclass(frozen=True)
class Group:
    """Gts with a similar attribute, and how well a config detects them.

    Attributes:
        low (float): Lower end of the attribute.
        high (float): Upper end.
        num_gts (int): Gts in the images.
        means (dict[str, Estimate]): By metric of ``GROUP_METRICS``.
    """

    low: float
    high: float
    num_gts: int
    means: dict[str, Estimate]


def evaluate_groups(config: RunResults, attribute: str, num_samples: int = 200) -> list[Group]:
    """Compute AP and recall of a config by an attribute of the gts; empty groups are omitted.

    Args:
        config (RunResults): Evaluations of the config.
        attribute (str): A key of ``ATTRIBUTE_EDGES``.
        num_samples (int): Bootstrap samples. Defaults to 200.
    """
    results = [config.results[s] for s in config.seeds]
    counts = resample_images(len(config.img_ids), num_samples)
    groups = []
    for (low, high), mask in results[0].groups(attribute).items():
        if not mask.any():
            continue

        def compute(result: CrowdResult, row: np.ndarray | None = None, mask=mask) -> tuple:
            scores = result.scores(mask, row)
            return scores.ap, scores.recall

        points = np.array([compute(result) for result in results])
        values = np.array([[compute(result, row) for row in counts] for result in results])
        means = {
            metric: estimate_fraction(points[:, i], values[:, :, i])
            for i, metric in enumerate(GROUP_METRICS)
        }
        groups.append(Group(low, high, int(mask.sum()), means))
    return groups


def known_attributes(configs: Sequence[RunResults]) -> list[str]:
    """List the attributes that some gt has in the images of every config."""
    firsts = [next(iter(config.results.values())) for config in configs]
    return [
        attribute
        for attribute in ATTRIBUTE_EDGES
        if all(np.isfinite(result.attributes[attribute]).any() for result in firsts)
    ]


def mean_precision(results: Iterable[CrowdResult], recall: np.ndarray) -> np.ndarray:
    """Compute the mean precision over runs; NaN beyond the lowest recall that a run reaches.

    Args:
        results (Iterable[CrowdResult]): One evaluation per run.
        recall (np.ndarray): Increasing recall, shape (n,).

    Returns:
        np.ndarray: Shape (n,).
    """
    curves = [result.curve() for result in results]
    return np.mean(
        [
            np.interp(recall, curve.recall, curve.precision, right=np.nan)
            if len(curve.recall)
            else np.full(len(recall), np.nan)
            for curve in curves
        ],
        axis=0,
    )


def mean_miss_rate(results: Iterable[CrowdResult], fppi: np.ndarray) -> np.ndarray:
    """Compute the mean miss rate over runs at given numbers of false positives per image.

    Args:
        results (Iterable[CrowdResult]): One evaluation per run.
        fppi (np.ndarray): Increasing numbers, shape (n,). Beyond a run's last number its last miss
            rate holds.

    Returns:
        np.ndarray: Shape (n,).
    """
    rates = []
    for result in results:
        curve = result.curve()
        # The first detection that reaches the number, as in the log-average miss rate.
        index = np.searchsorted(curve.fppi, fppi, side='left')
        rate = np.append(curve.miss_rate, curve.miss_rate[-1] if len(curve.score) else 1.0)
        rates.append(rate[np.minimum(index, len(rate) - 1)])
    return np.mean(rates, axis=0)


@dataclass(frozen=True)
class ErrorComparison:
    """Errors of one config, and its differences to the baseline.

    Attributes:
        name (str): Name of the config.
        means (dict[str, dict[str, Estimate]]): By number of ``ERROR_NUMBERS`` and error type.
        differences (dict[str, dict[str, Estimate]] | None): To the baseline; see
            :class:`Comparison`.
    """

    name: str
    means: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]] | None


def find_run_errors(
    test_set: TestSet, detections: Sequence[CrowdDetections], num_samples: int = 50
) -> RunNumbers:
    """Compute the numbers of ``ERROR_KEYS`` of one run, at its best score threshold by JI."""
    annotations, ordered = test_set.match_images(detections)
    samples = resample_images(len(annotations), num_samples)
    errors = find_errors(annotations, ordered, 0.0, test_set.iou_thr)
    score_thr = find_best_thresholds(errors.pairs, errors.matches, samples[:0])['JI']['threshold']
    errors = find_errors(annotations, ordered, score_thr, test_set.iou_thr)
    counts = np.array(list(errors.count_per_image().values()))  # (num_types, num_images)
    num_gts = errors.pairs.count_per_image(errors.pairs.gt_image)
    weights = np.concatenate([np.ones((1, len(num_gts)), int), samples])
    rates = counts @ weights.T / np.maximum(weights @ num_gts, 1)
    numbers = [rates]  # (num_types, 1 + num_samples) each
    impacts = {one.type: one for one in compute_impacts(errors, samples, test_set.mr_ref)}
    for column, (metric, sign) in enumerate((('AP', 1), ('MR', -1))):
        rows = [
            np.concatenate([[impacts[kind].delta[metric]], impacts[kind].samples[:, column]])
            for kind in ERROR_TYPES
        ]
        numbers.append(sign * np.array(rows))
    table = np.concatenate(numbers)  # (len(ERROR_KEYS), 1 + num_samples)
    return RunNumbers(errors.pairs.img_ids, table[:, 0], table[:, 1:])


def compare_errors(runs: Mapping[str, Mapping[int, RunNumbers]]) -> list[ErrorComparison]:
    """Compute means over seeds, paired differences to the first config, and their intervals.

    Args:
        runs (Mapping): Results of :func:`find_run_errors` by config, the baseline first, and seed.
    """

    def nest(found: dict[Any, Estimate]) -> dict[str, dict[str, Estimate]]:
        return {
            number: {kind: found[number, kind] for kind in ERROR_TYPES} for number in ERROR_NUMBERS
        }

    return [
        ErrorComparison(name, nest(means), None if differences is None else nest(differences))
        for name, means, differences in _compare(runs, ERROR_KEYS, estimate)
    ]
