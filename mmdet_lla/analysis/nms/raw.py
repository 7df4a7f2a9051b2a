"""What comes before NMS, kept from one pass, and what a head makes of it under any setting."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, autocast, load_checkpoint
from mmengine.structures import InstanceData
from torch import Tensor

from ...compat import mmengine_log_allowed
from ...evaluation.annotations import CrowdDetections


@dataclass(frozen=True)
class RawPicture:
    """Predictions of one picture that stand before NMS.

    Attributes:
        meta (dict): The picture's, with ``img_id``, ``ori_shape`` and what rescaling needs.
        fields (dict[str, Tensor]): ``bboxes``, ``scores``, ``labels`` and perhaps
            ``score_factors``, of equal length, as the head hands them to its post-processing.
        rescale (bool): Whether boxes go back to the original picture.
    """

    meta: dict[str, Any]
    fields: dict[str, Tensor]
    rescale: bool


@dataclass(frozen=True)
class RawPredictions:
    """Predictions of all pictures before NMS.

    Attributes:
        head (nn.Module): A dense head of mmdet's, whose they are and who processes them.
        test_cfg (ConfigDict): Under which they were made.
        pictures (list[RawPicture]): In the order of the test set.
    """

    head: Any
    test_cfg: ConfigDict
    pictures: list[RawPicture]

    @torch.no_grad()
    def detections(self, changes: dict, with_nms: bool = True) -> list[CrowdDetections]:
        """What a test with another ``test_cfg`` would give; the head's own code does it.

        Args:
            changes (dict): Keys of ``test_cfg`` and their values.
            with_nms (bool): False stops before NMS, with scores and boxes as they then are.

        Raises:
            ValueError: ``changes`` asks for predictions that were not kept.
        """
        cfg = ConfigDict({**copy.deepcopy(self.test_cfg), **copy.deepcopy(changes)})
        score_thr, kept_thr = cfg.get('score_thr', 0), self.test_cfg.get('score_thr', 0)
        if score_thr < kept_thr:
            raise ValueError(
                f'score_thr is {score_thr}, but predictions below {kept_thr} were not kept'
            )
        if cfg.get('nms_pre', -1) != self.test_cfg.get('nms_pre', -1):
            raise ValueError('nms_pre acts before what was kept, expected no change of it')
        reaches = torch.ge if isinstance(self.head, YOLOXHead) else torch.gt
        found = []
        for picture in self.pictures:
            keep = reaches(picture.fields['scores'], score_thr)
            results = InstanceData(**{k: v[keep] for k, v in picture.fields.items()})
            results = self.head._bbox_post_process(
                results, cfg, rescale=picture.rescale, with_nms=with_nms, img_meta=picture.meta
            )
            found.append(
                CrowdDetections.create(
                    picture.meta['img_id'],
                    results.bboxes.numpy(),
                    results.scores.numpy(),
                    *picture.meta['ori_shape'][:2],
                )
            )
        return found


def collect_raw(
    cfg: Config,
    checkpoint: str,
    score_thr: float | None = None,
    device: str = 'cpu',
    watch: Callable[[Iterable], Iterable] = iter,
) -> RawPredictions:
    """One pass over the test set, as ``tools/test.py`` does it, that keeps what comes before NMS.

    Args:
        cfg (Config): With ``model`` and ``test_dataloader``.
        checkpoint (str): Of its weights.
        score_thr (float, optional): Class scores from here on are kept, if that is below the
            config's ``model.test_cfg.score_thr``.
        device (str): Where the detector runs. Defaults to 'cpu'.
        watch (Callable): Hands batches on, for a progress bar.

    Raises:
        ValueError: The detector has no post-processing of mmdet's dense heads, or no NMS.
    """
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    model_cfg = copy.deepcopy(cfg.model)
    test_cfg = model_cfg.get('test_cfg') or ConfigDict()
    if score_thr is not None and score_thr < test_cfg.get('score_thr', 0):
        test_cfg.score_thr = score_thr
    model = revert_sync_batchnorm(MODELS.build(model_cfg))
    head: Any = getattr(model, 'bbox_head', None)
    if not hasattr(head, '_bbox_post_process'):
        raise ValueError(
            f"{type(model).__name__} has no bbox_head with the post-processing of mmdet's dense "
            'heads; what comes before its NMS cannot be kept'
        )
    if getattr(head, 'predicts_one_to_one', False):
        raise ValueError(
            'the one-to-one branch predicts without NMS; model.test_cfg.one_to_one=False lets the '
            "head's own branches predict"
        )
    with mmengine_log_allowed():
        load_checkpoint(model, checkpoint, map_location='cpu', logger='silent')
    model.to(device).eval()
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    pictures: list[RawPicture] = []
    half = (cfg.get('test_cfg') or {}).get('fp16', False)
    with torch.no_grad(), _recording(head, pictures):
        for batch in watch(loader):
            with autocast(enabled=half):
                model.test_step(batch)
    return RawPredictions(model.cpu().bbox_head, test_cfg, pictures)


def write_raw(path: Path, raw: RawPredictions) -> None:
    """Write what comes before NMS as ``tools/test.py --out`` writes detections."""
    samples = [
        dict(
            img_id=one.img_id,
            ori_shape=(one.height, one.width),
            pred_instances=dict(
                bboxes=torch.from_numpy(one.boxes), scores=torch.from_numpy(one.scores)
            ),
        )
        for one in raw.detections({}, with_nms=False)
    ]
    path.write_bytes(pickle.dumps(samples))


@contextmanager
def _recording(head: Any, pictures: list[RawPicture]) -> Iterator[None]:
    """Keep what a head hands to its post-processing, which goes on as ever."""
    process = head._bbox_post_process

    def record(results, cfg, rescale=False, with_nms=True, img_meta=None):
        fields = {
            name: getattr(value, 'tensor', value).detach().cpu().clone()
            for name, value in results.items()
        }
        pictures.append(RawPicture(dict(img_meta), fields, rescale))
        return process(results, cfg, rescale=rescale, with_nms=with_nms, img_meta=img_meta)

    head._bbox_post_process = record
    try:
        yield
    finally:
        del head._bbox_post_process
