"""NMS settings and their metrics, for all images and by density of the crowd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import ConfigDict

from ...evaluation.annotations import CrowdAnnotation
from ...evaluation.crowd import CrowdResult
from ..statistics import resample_images
from ..test_sets import LOWER_IS_BETTER, METRICS, TestSet, summarize
from .raw import RawPredictions

SOFT_NMS_METHODS = ('linear', 'gaussian')
#: Keys that define the kind of NMS, and are not carried over to another kind.
NMS_KEYS = ('type', 'iou_threshold', 'method', 'sigma', 'min_score', 'score_threshold', 'max_num')
ALL = 'all'
DENSITIES = ('sparse', 'medium', 'dense')


@dataclass(frozen=True)
class NMSSetting:
    """A change of ``model.test_cfg``.

    Attributes:
        name (str): Description.
        changes (dict): Keys of ``test_cfg`` and their values; empty for the config's own setting.
    """

    name: str
    changes: dict

    def get_threshold(self, test_cfg: ConfigDict) -> float | None:
        """Return the IoU threshold if the setting only changes plain NMS, else None."""
        nms = dict(self.changes.get('nms', test_cfg.nms))
        if nms.get('type', 'nms') != 'nms' or set(self.changes) - {'nms'}:
            return None
        return float(nms['iou_threshold'])

    @property
    def is_soft(self) -> bool:
        """Whether the setting is soft-NMS."""
        return bool(dict(self.changes.get('nms', {})).get('method'))


def plan_settings(
    test_cfg: ConfigDict,
    thresholds: Sequence[float] = (),
    soft: Sequence[str] = (),
    caps: Sequence[int] = (),
    score_thrs: Sequence[float] = (),
    plain_product: bool = False,
) -> list[NMSSetting]:
    """List the config's own setting and each change of it; changes without effect are left out.

    Args:
        test_cfg (ConfigDict): ``model.test_cfg`` of the config.
        thresholds (Sequence[float]): IoU thresholds of NMS, 0 to 1.
        soft (Sequence[str]): Of ``SOFT_NMS_METHODS``: soft-NMS (arXiv 1704.04503) with mmcv's sigma
            of 0.5 and least score of 0.001.
        caps (Sequence[int]): ``max_per_img``.
        score_thrs (Sequence[float]): ``score_thr``.
        plain_product (bool): Whether to add ``sqrt_score=False``: LLAHead's scores without the
            square root.

    Raises:
        ValueError: A value is out of range, or the config has no NMS.

    Example:
        >>> test_cfg = ConfigDict(nms=dict(type='nms', iou_threshold=0.6))
        >>> [setting.name for setting in plan_settings(test_cfg, [0.5, 0.6])]
        ['as configured: NMS 0.6', 'NMS 0.5']
    """
    own = dict(test_cfg.get('nms') or {})
    if 'iou_threshold' not in own:
        raise ValueError(f'model.test_cfg.nms is {own}, expected one with an iou_threshold')
    for name, values in (('IoU threshold of NMS', thresholds), ('score_thr', score_thrs)):
        for value in values:
            if not 0 <= value <= 1:
                raise ValueError(f'{name} is {value}, expected a number from 0 to 1')
    for cap in caps:
        if cap < 1:
            raise ValueError(f'cap is {cap}, expected at least 1 detection')
    for method in soft:
        if method not in SOFT_NMS_METHODS:
            raise ValueError(f'soft is {method!r}, expected one of {SOFT_NMS_METHODS}')
    shared = {key: value for key, value in own.items() if key not in NMS_KEYS}
    kind = 'NMS' if own.get('type', 'nms') == 'nms' else f'{own["type"]} {own.get("method", "")}'
    planned: dict[str, dict] = {}
    for thr in thresholds:
        planned[f'NMS {thr:g}'] = dict(nms=dict(shared, type='nms', iou_threshold=thr))
    for method in soft:
        nms = dict(shared, type='soft_nms', iou_threshold=own['iou_threshold'], method=method)
        planned[f'soft-NMS, {method}'] = dict(nms=nms)
    for cap in caps:
        planned[f'at most {cap} detections'] = dict(max_per_img=cap)
    for thr in score_thrs:
        planned[f'class score above {thr:g}'] = dict(score_thr=thr)
    if plain_product:
        planned['score cls * iou'] = dict(sqrt_score=False)
    settings = [NMSSetting(f'as configured: {kind.strip()} {own["iou_threshold"]:g}', {})]
    for name, changes in planned.items():
        if any(test_cfg.get(key) != value for key, value in changes.items()):
            settings.append(NMSSetting(name, changes))
    return settings


@dataclass(frozen=True)
class Trial:
    """Result of one setting.

    Attributes:
        setting (NMSSetting): The setting.
        threshold (float, optional): IoU threshold, if it is plain NMS and nothing else changed.
        num_detections (float): Mean per image.
        metrics (dict[str, dict[str, float]]): AP, MR, JI and recall, fractions of 1, by group of
            images, ``ALL`` first.
        result (CrowdResult): The evaluation.
    """

    setting: NMSSetting
    threshold: float | None
    num_detections: float
    metrics: dict[str, dict[str, float]]
    result: CrowdResult


@dataclass(frozen=True)
class Best:
    """The best setting by one metric.

    Attributes:
        trial (Trial): Its result.
        delta (float): Difference of the metric to the config's own setting.
        low (float): Lower end of the 95 % interval of the difference, on the same bootstrap
            samples of images.
        high (float): Upper end.
    """

    trial: Trial
    delta: float
    low: float
    high: float


def evaluate_settings(
    raw: RawPredictions,
    settings: Sequence[NMSSetting],
    test_set: TestSet,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Trial]:
    """Evaluate settings on predictions collected in one pass.

    Args:
        raw (RawPredictions): Result of ``collect_raw_predictions``.
        settings (Sequence[NMSSetting]): Result of ``plan_settings``.
        test_set (TestSet): Ground truth.
        progress (Callable): Wraps the iteration over settings, for a progress bar.
    """
    trials = []
    for setting in progress(settings):
        detections = raw.postprocess(setting.changes)
        result = test_set.evaluate(detections)
        groups = {ALL: None, **group_by_density(result.annotations)}
        trials.append(
            Trial(
                setting,
                setting.get_threshold(raw.test_cfg),
                float(np.mean([len(one.scores) for one in detections])),
                {name: summarize(result, counts) for name, counts in groups.items()},
                result,
            )
        )
    return trials


def group_by_density(annotations: Sequence[CrowdAnnotation]) -> dict[str, np.ndarray]:
    """Divide images with gts into thirds by density: the mean over gts of the largest IoU.

    Returns:
        dict[str, np.ndarray]: By name with the range, the images that belong to it as counts of 0
        and 1, shape (P, ); fewer than three groups for fewer images.
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


def find_best_trials(trials: Sequence[Trial], num_samples: int = 50) -> dict[str, Best]:
    """Find the best setting by each metric and compare it with the config's own.

    Args:
        trials (Sequence[Trial]): From ``evaluate_settings``; the first is the config's own setting.
        num_samples (int): Bootstrap samples of images, for the intervals. Defaults to 50.
    """
    own = trials[0]
    image_counts = resample_images(len(own.result.img_ids), num_samples)
    cache: dict[int, np.ndarray] = {}

    def resample_metrics(trial: Trial) -> np.ndarray:  # (num_samples, num_metrics)
        if id(trial) not in cache:
            rows = [summarize(trial.result, counts) for counts in image_counts]
            cache[id(trial)] = np.array([[row[metric] for metric in METRICS] for row in rows])
        return cache[id(trial)]

    bests = {}
    for i, metric in enumerate(METRICS):
        sign = -1 if metric in LOWER_IS_BETTER else 1
        best = max(trials, key=lambda one: sign * one.metrics[ALL][metric])
        delta = best.metrics[ALL][metric] - own.metrics[ALL][metric]
        low = high = delta
        if best is not own and num_samples:
            differences = resample_metrics(best)[:, i] - resample_metrics(own)[:, i]
            low, high = np.percentile(differences, [2.5, 97.5]).tolist()
        bests[metric] = Best(best, delta, low, high)
    return bests
