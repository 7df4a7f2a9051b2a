"""Predictions before NMS, collected in one pass, and their post-processing with any setting."""

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
from mmengine.runner import Runner, autocast
from mmengine.structures import InstanceData
from torch import Tensor

from ...evaluation.annotations import CrowdDetections
from ...plain_checkpoints import load_weights
from ...utils.files import atomic_write


@dataclass(frozen=True)
class RawImage:
    """Predictions of one image before NMS.

    Attributes:
        meta (dict): Meta information with ``img_id``, ``ori_shape`` and the fields that rescaling
            needs.
        fields (dict[str, Tensor]): ``bboxes``, ``scores``, ``labels`` and optionally
            ``score_factors``, of equal length, as the head passes them to its post-processing.
        rescale (bool): Whether boxes are scaled back to the original image.
    """

    meta: dict[str, Any]
    fields: dict[str, Tensor]
    rescale: bool


@dataclass(frozen=True)
class RawPredictions:
    """Predictions of all images before NMS.

    Attributes:
        head (nn.Module): The dense head of mmdet that made and post-processes them.
        test_cfg (ConfigDict): The settings under which they were made.
        images (list[RawImage]): In the order of the test set.
        person (int): Label of people.
    """

    head: Any
    test_cfg: ConfigDict
    images: list[RawImage]
    person: int = 0

    @torch.no_grad()
    def postprocess(self, changes: dict, with_nms: bool = True) -> list[CrowdDetections]:
        """Compute the detections of people that a test with a changed ``test_cfg`` would give.

        Args:
            changes (dict): Keys of ``test_cfg`` and their values.
            with_nms (bool): False stops before NMS. Defaults to True.

        Raises:
            ValueError: ``changes`` needs predictions that were not collected.
        """
        cfg = ConfigDict({**copy.deepcopy(self.test_cfg), **copy.deepcopy(changes)})
        score_thr, collected_thr = cfg.get('score_thr', 0), self.test_cfg.get('score_thr', 0)
        if score_thr < collected_thr:
            raise ValueError(
                f'score_thr is {score_thr}, but predictions below {collected_thr} were not '
                'collected'
            )
        if cfg.get('nms_pre', -1) != self.test_cfg.get('nms_pre', -1):
            raise ValueError('nms_pre applies before the collected predictions and cannot change')
        exceeds = torch.ge if isinstance(self.head, YOLOXHead) else torch.gt
        detections = []
        for image in self.images:
            keep = exceeds(image.fields['scores'], score_thr)
            results = InstanceData(**{k: v[keep] for k, v in image.fields.items()})
            results = self.head._bbox_post_process(
                results, cfg, rescale=image.rescale, with_nms=with_nms, img_meta=image.meta
            )
            results = results[results.labels == self.person]
            detections.append(
                CrowdDetections.create(
                    image.meta['img_id'],
                    results.bboxes.numpy(),
                    results.scores.numpy(),
                    *image.meta['ori_shape'][:2],
                )
            )
        return detections

    def write(self, path: Path) -> None:
        """Write the predictions before NMS in the format of ``test --out``."""
        samples = [
            dict(
                img_id=one.img_id,
                ori_shape=(one.height, one.width),
                pred_instances=dict(
                    bboxes=torch.from_numpy(one.boxes), scores=torch.from_numpy(one.scores)
                ),
            )
            for one in self.postprocess({}, with_nms=False)
        ]
        with atomic_write(path, 'wb') as file:
            pickle.dump(samples, file)


def collect_raw_predictions(
    cfg: Config,
    checkpoint: str,
    score_thr: float | None = None,
    device: str = 'cpu',
    progress: Callable[[Iterable], Iterable] = iter,
    person: int = 0,
) -> RawPredictions:
    """Run a detector on the test set, as ``test`` does, and collect its predictions before NMS.

    Args:
        cfg (Config): Config with ``model`` and ``test_dataloader``.
        checkpoint (str): Checkpoint of the detector.
        score_thr (float, optional): Collect predictions from this class score on, if it is below
            ``model.test_cfg.score_thr``.
        device (str): Device of the detector. Defaults to 'cpu'.
        progress (Callable): Wraps the iteration over batches, for a progress bar.
        person (int): Label of people. Defaults to 0.

    Raises:
        ValueError: The detector does not use the post-processing of mmdet's dense heads, has no
            NMS, or the checkpoint is of another detector.
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
            'heads; its predictions before NMS cannot be collected'
        )
    if getattr(head, 'predicts_one_to_one', False):
        raise ValueError(
            'the one-to-one branch predicts without NMS; set model.test_cfg.one_to_one=False to '
            "use the head's other branches"
        )
    load_weights(model, checkpoint)
    model.to(device).eval()
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    images: list[RawImage] = []
    half = (cfg.get('test_cfg') or {}).get('fp16', False)
    with torch.no_grad(), _record_images(head, images):
        for batch in progress(loader):
            with autocast(enabled=half):
                model.test_step(batch)
    return RawPredictions(model.cpu().bbox_head, test_cfg, images, person)


@contextmanager
def _record_images(head: Any, images: list[RawImage]) -> Iterator[None]:
    """Record the inputs of a head's post-processing, which still runs."""
    process = head._bbox_post_process

    def record(results, cfg, rescale=False, with_nms=True, img_meta=None):
        fields = {
            name: getattr(value, 'tensor', value).detach().cpu().clone()
            for name, value in results.items()
        }
        images.append(RawImage(dict(img_meta), fields, rescale))
        return process(results, cfg, rescale=rescale, with_nms=with_nms, img_meta=img_meta)

    head._bbox_post_process = record
    try:
        yield
    finally:
        del head._bbox_post_process
