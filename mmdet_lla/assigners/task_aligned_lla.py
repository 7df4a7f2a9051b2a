"""LLA and OTA for TOODHead, which expects alignment metrics besides the assignment."""

from typing import Any

import torch
from mmdet.models.task_modules import AssignResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from .base import PredictionAssigner
from .lla_assigner import LLAAssigner
from .ota_assigner import OTAAssigner


class _TaskAligned(PredictionAssigner):
    """Mixin that adds the metrics by which ``TOODHead`` weights its losses to an assigner."""

    score_form: str

    def __init__(self, prior_form: str = 'boxes', score_form: str = 'probs', **kwargs: Any) -> None:
        super().__init__(prior_form=prior_form, score_form=score_form, **kwargs)

    @torch.no_grad()
    def assign(  # type: ignore[override]
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        alpha: float = 1,
        beta: float = 6,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign as the parent's ``assign`` does.

        Args:
            pred_instances, gt_instances, gt_instances_ignore (:obj:`InstanceData`): See there.
            alpha (float): Exponent of the probability in the metrics. Defaults to 1.
            beta (float): Exponent of the IoU in the metrics. Defaults to 6.

        Returns:
            :obj:`AssignResult`: As there, and ``assign_metrics`` (n,).
        """
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        positive = (result.gt_inds > 0).nonzero().squeeze(1)
        scores = pred_instances.scores[positive, result.labels[positive]].float()
        if self.score_form == 'logits':
            scores = scores.sigmoid()
        result.assign_metrics = result.max_overlaps.new_zeros(len(result.gt_inds))
        result.assign_metrics[positive] = scores**alpha * result.max_overlaps[positive] ** beta
        return result


@TASK_UTILS.register_module()
class TaskAlignedLLAAssigner(_TaskAligned, LLAAssigner):  # type: ignore[misc]
    """LLA's assignment with the metrics by which ``TOODHead`` weights its losses.

    The metric of a positive prior is ``s**alpha * u**beta``, where s is its probability of
    the gt's class and u the IoU of its prediction and the gt
    (`TOOD <https://arxiv.org/abs/2108.07755>`_, eq. 4); 0 elsewhere. ``TOODHead`` passes anchor
    boxes and probabilities, which are the defaults here.

    Args:
        prior_form (str): See :class:`LLA`. Defaults to 'boxes'.
        score_form (str): See :class:`LLA`. Defaults to 'probs'.
        kwargs: See :class:`LLA`.

    >>> TaskAlignedLLAAssigner(topk=5).score_form
    'probs'
    """


@TASK_UTILS.register_module()
class TaskAlignedOTAAssigner(_TaskAligned, OTAAssigner):
    """OTA's assignment with the metrics of :class:`TaskAlignedLLAAssigner`.

    Args:
        prior_form (str): See :class:`OTAAssigner`. Defaults to 'boxes'.
        score_form (str): See :class:`OTAAssigner`. Defaults to 'probs'.
        kwargs: See :class:`OTAAssigner`.
    """
