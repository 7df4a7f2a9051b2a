"""Which settings of NMS are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import ConfigDict

SOFT = ('linear', 'gaussian')
#: Keys that say which NMS it is, and are not kept for another one.
KIND = ('type', 'iou_threshold', 'method', 'sigma', 'min_score', 'score_threshold', 'max_num')


@dataclass(frozen=True)
class Setting:
    """A change of ``model.test_cfg``.

    Attributes:
        name (str): In words.
        changes (dict): Keys of ``test_cfg`` and their values; none is the config's own.
    """

    name: str
    changes: dict


def plan_settings(
    test_cfg: ConfigDict,
    thresholds: Sequence[float] = (),
    soft: Sequence[str] = (),
    caps: Sequence[int] = (),
    score_thrs: Sequence[float] = (),
    plain_product: bool = False,
) -> list[Setting]:
    """The config's own setting, and each change of it by itself; what changes nothing is left out.

    Args:
        test_cfg (ConfigDict): The config's ``model.test_cfg``.
        thresholds (Sequence[float]): IoU thresholds of NMS, 0 to 1.
        soft (Sequence[str]): Of ``SOFT``: soft-NMS (arXiv 1704.04503) with mmcv's sigma of 0.5 and
            least score of 0.001.
        caps (Sequence[int]): ``max_per_img``.
        score_thrs (Sequence[float]): ``score_thr``.
        plain_product (bool): Whether ``sqrt_score=False`` is tried: LLAHead's scores without the
            square root.

    Raises:
        ValueError: A value is out of range, or the config has no NMS.
    """
    own = dict(test_cfg.get('nms') or {})
    if 'iou_threshold' not in own:
        raise ValueError(f'model.test_cfg.nms is {own}, expected one with an iou_threshold')
    for name, values, high in (('threshold of NMS', thresholds, 1), ('score_thr', score_thrs, 1)):
        for value in values:
            if not 0 <= value <= high:
                raise ValueError(f'{name} is {value}, expected a number from 0 to {high}')
    for cap in caps:
        if cap < 1:
            raise ValueError(f'cap is {cap}, expected a number of detections above 0')
    settings = [Setting(f'as configured: {describe_nms(own)}', {})]
    shared = {key: value for key, value in own.items() if key not in KIND}
    settings += [
        Setting(f'NMS {threshold:g}', dict(nms=dict(shared, type='nms', iou_threshold=threshold)))
        for threshold in thresholds
    ]
    for method in soft:
        if method not in SOFT:
            raise ValueError(f'soft is {method!r}, expected one of {SOFT}')
        nms = dict(shared, type='soft_nms', iou_threshold=own['iou_threshold'], method=method)
        settings.append(Setting(f'soft-NMS, {method}', dict(nms=nms)))
    settings += [Setting(f'at most {cap} detections', dict(max_per_img=cap)) for cap in caps]
    settings += [Setting(f'class score above {thr:g}', dict(score_thr=thr)) for thr in score_thrs]
    if plain_product:
        settings.append(Setting('score cls * iou', dict(sqrt_score=False)))
    return [settings[0], *(one for one in settings[1:] if not _is_own(one, test_cfg))]


def describe_nms(nms: dict) -> str:
    """An NMS in words."""
    name = 'NMS' if nms.get('type', 'nms') == 'nms' else f'{nms["type"]} {nms.get("method", "")}'
    return f'{name.strip()} {nms["iou_threshold"]:g}'


def threshold_of(setting: Setting, test_cfg: ConfigDict) -> float | None:
    """Threshold of a setting that is plain NMS and else the config's own."""
    nms = dict(setting.changes.get('nms', test_cfg.nms))
    if nms.get('type', 'nms') != 'nms' or set(setting.changes) - {'nms'}:
        return None
    return float(nms['iou_threshold'])


def _is_own(setting: Setting, test_cfg: ConfigDict) -> bool:
    return all(test_cfg.get(key) == value for key, value in setting.changes.items())
