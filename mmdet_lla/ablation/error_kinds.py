"""Which kinds of error each config makes, what they cost, and which it trades for which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..analysis.errors import (
    FALSE_ALARMS,
    MISSES,
    Errors,
    best_thresholds,
    find_errors,
    price_errors,
)
from ..analysis.statistics import Estimate, estimate, paired_difference, resample_images
from ..analysis.test_sets import TestSet
from ..evaluation.annotations import CrowdDetections

KINDS = FALSE_ALARMS + MISSES
#: What is said of each kind; less is better of all.
SAYINGS = ('rate', 'AP', 'MR')


@dataclass(frozen=True)
class RunErrors:
    """Errors of one run, at its best score threshold by JI.

    Attributes:
        img_ids (list): Of the pictures.
        points (np.ndarray): Errors of each kind per person, and what the kind costs in AP and in
            MR, fractions of 1, shape (K, 3).
        values (np.ndarray): The same on each draw of pictures, shape (K, 3, B).
    """

    img_ids: list
    points: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class WeighedErrors:
    """Errors of one config.

    Attributes:
        name (str): Of the config.
        means (dict[str, dict[str, Estimate]]): By ``SAYINGS`` and kind, means over seeds.
        differences (dict[str, dict[str, Estimate]] | None): To the baseline, over the seeds that
            both have; None for the baseline itself and where there is nothing to compare.
    """

    name: str
    means: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]] | None


def errors_of(
    tested: TestSet, detections: Sequence[CrowdDetections], num_draws: int = 50
) -> RunErrors:
    """Errors of the detections of one run.

    Args:
        tested (TestSet): The ground truth.
        detections (Sequence[CrowdDetections]): Of some or all of its pictures.
        num_draws (int): Draws of pictures behind the intervals. Defaults to 50.
    """
    annotations, ordered = tested.match_images(detections)
    draws = resample_images(len(annotations), num_draws)
    errors = find_errors(annotations, ordered, 0.0, tested.iou_thr)
    score_thr = best_thresholds(errors.pairs, errors.matches, draws[:0])['JI']['threshold']
    errors = find_errors(annotations, ordered, score_thr, tested.iou_thr)
    counts = _counts(errors)
    people = np.bincount(errors.pairs.gt_picture, minlength=errors.pairs.num_pictures)
    weights = np.concatenate([np.ones((1, len(people)), int), draws])
    rates = counts @ weights.T / np.maximum(weights @ people, 1)  # (K, 1 + B)
    prices = {price.kind: price for price in price_errors(errors, draws, tested.mr_ref)}
    numbers = [rates]
    for column, (metric, sign) in enumerate((('AP', 1), ('MR', -1))):
        rows = [
            np.concatenate([[prices[kind].gain[metric]], prices[kind].drawn[:, column]])
            for kind in KINDS
        ]
        numbers.append(sign * np.array(rows))
    table = np.stack(numbers, axis=1)
    return RunErrors(errors.pairs.img_ids, table[:, :, 0], table[:, :, 1:])


def _counts(errors: Errors) -> np.ndarray:
    """Errors of each kind in each picture, shape (K, P)."""
    pairs = errors.pairs
    shown = pairs.det_score >= errors.score_thr
    rows = [
        np.bincount(picture[kinds == i], minlength=pairs.num_pictures)
        for kinds, picture, names in (
            (np.where(shown, errors.alarm, -1), pairs.det_picture, FALSE_ALARMS),
            (errors.miss, pairs.gt_picture, MISSES),
        )
        for i in range(len(names))
    ]
    return np.array(rows)


def weigh_errors(
    runs: dict[str, dict[int, RunErrors]],
    watch: Callable[[Iterable], Iterable] = iter,
) -> list[WeighedErrors]:
    """Means over seeds, differences to the first, and intervals of both.

    Args:
        runs (dict[str, dict[int, RunErrors]]): By config, the baseline first, and by seed.
        watch (Callable): Hands configs on, for a progress bar.
    """
    base = next(iter(runs.values()))
    base_ids = next(iter(base.values())).img_ids
    weighed: list[WeighedErrors] = []
    for name, own in watch(runs.items()):
        shared = [seed for seed in sorted(own) if seed in base]
        same = next(iter(own.values())).img_ids == base_ids
        differences = None
        if weighed and shared and same:  # the first is the baseline
            differences = {
                saying: {
                    kind: paired_difference(*_of(own, shared, i, j), *_of(base, shared, i, j))
                    for i, kind in enumerate(KINDS)
                }
                for j, saying in enumerate(SAYINGS)
            }
        means = {
            saying: {kind: estimate(*_of(own, sorted(own), i, j)) for i, kind in enumerate(KINDS)}
            for j, saying in enumerate(SAYINGS)
        }
        weighed.append(WeighedErrors(name, means, differences))
    return weighed


def _of(
    runs: dict[int, RunErrors], seeds: Sequence[int], kind: int, saying: int
) -> tuple[np.ndarray, np.ndarray]:
    points = np.array([runs[seed].points[kind, saying] for seed in seeds])
    return points, np.array([runs[seed].values[kind, saying] for seed in seeds])
