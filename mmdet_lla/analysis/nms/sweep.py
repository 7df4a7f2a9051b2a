"""The numbers of every setting, also by density of the crowd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.annotations import CrowdAnnotation
from ...evaluation.crowd import CrowdResult
from ..statistics import resample_images
from ..test_sets import LOWER_IS_BETTER, METRICS, TestSet, summarize
from .raw import RawPredictions
from .settings import Setting, threshold_of

ALL = 'all'
DENSITIES = ('sparse', 'middle', 'dense')


@dataclass(frozen=True)
class Trial:
    """What came of one setting.

    Attributes:
        setting (Setting): Which.
        threshold (float, optional): Of NMS, where that alone is not the config's.
        detections (float): Mean of a picture.
        numbers (dict[str, dict[str, float]]): By group of pictures, ``ALL`` first, AP, MR, JI and
            recall, fractions of 1.
        result (CrowdResult): The evaluation.
    """

    setting: Setting
    threshold: float | None
    detections: float
    numbers: dict[str, dict[str, float]]
    result: CrowdResult


@dataclass(frozen=True)
class Best:
    """The setting that is best by one number.

    Attributes:
        trial (Trial): Which.
        change (float): Of the number, from the config's own setting.
        low (float): Lower end of the 95 % interval of the change, on the same draws of pictures.
        high (float): Upper end.
    """

    trial: Trial
    change: float
    low: float
    high: float


def sweep(
    raw: RawPredictions,
    settings: Sequence[Setting],
    tested: TestSet,
    watch: Callable[[Iterable], Iterable] = iter,
) -> list[Trial]:
    """Try settings on what one pass kept.

    Args:
        raw (RawPredictions): What ``collect_raw`` gives.
        settings (Sequence[Setting]): What ``plan_settings`` gives.
        tested (TestSet): The ground truth.
        watch (Callable): Hands settings on, for a progress bar.
    """
    trials = []
    for setting in watch(settings):
        detections = raw.detections(setting.changes)
        result = tested.evaluate(detections)
        groups = {ALL: None, **density_groups(result.annotations)}
        trials.append(
            Trial(
                setting,
                threshold_of(setting, raw.test_cfg),
                float(np.mean([len(one.scores) for one in detections])),
                {name: summarize(result, counts) for name, counts in groups.items()},
                result,
            )
        )
    return trials


def density_groups(annotations: Sequence[CrowdAnnotation]) -> dict[str, np.ndarray]:
    """Thirds of the pictures with people, by the mean over people of the largest IoU with another.

    Returns:
        dict[str, np.ndarray]: By name with the range, which pictures belong to it, int, shape
        (P, ); fewer than three where there are fewer pictures.
    """
    density = np.full(len(annotations), np.nan)
    for i, one in enumerate(annotations):
        if (~one.ignored).any():
            density[i] = one.crowdedness()[~one.ignored].mean()
    order = np.argsort(density, kind='stable')[: np.isfinite(density).sum()]
    groups = {}
    for name, part in zip(DENSITIES, np.array_split(order, len(DENSITIES)), strict=True):
        if len(part):
            counts = np.zeros(len(annotations), np.int64)
            counts[part] = 1
            low, high = density[part[0]], density[part[-1]]
            groups[f'{name} ({low:.2f} to {high:.2f})'] = counts
    return groups


def best_trials(trials: Sequence[Trial], num_draws: int = 50) -> dict[str, Best]:
    """By number, the best setting, and whether it is better than the first one.

    Args:
        trials (Sequence[Trial]): What ``sweep`` gives; the first is the config's own.
        num_draws (int): Draws of pictures behind the intervals. Defaults to 50.
    """
    own = trials[0]
    draws = resample_images(len(own.result.img_ids), num_draws)
    found = {}
    drawn: dict[int, np.ndarray] = {}

    def numbers_of(trial: Trial) -> np.ndarray:
        if id(trial) not in drawn:
            rows = [summarize(trial.result, counts) for counts in draws]
            drawn[id(trial)] = np.array([[row[metric] for metric in METRICS] for row in rows])
        return drawn[id(trial)]

    for i, metric in enumerate(METRICS):
        sign = -1 if metric in LOWER_IS_BETTER else 1
        best = max(trials, key=lambda one: sign * one.numbers[ALL][metric])
        change = best.numbers[ALL][metric] - own.numbers[ALL][metric]
        low = high = change
        if best is not own and num_draws:
            differences = numbers_of(best)[:, i] - numbers_of(own)[:, i]
            low, high = np.percentile(differences, [2.5, 97.5]).tolist()
        found[metric] = Best(best, change, low, high)
    return found
