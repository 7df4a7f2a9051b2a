"""Ignore regions for assigners that know none: their boxes or priors are changed, not they."""

from collections.abc import Callable

import torch
from mmdet.models.task_modules import AssignResult
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import is_covered

#: What may become of ignore boxes, see :class:`LLAAssigner`.
IGNORE = ('compete', 'overlap', 'unused')


def assign_competing(
    assign: Callable[[InstanceData], AssignResult],
    gt_instances: InstanceData,
    gt_instances_ignore: InstanceData,
    num_classes: int,
) -> AssignResult:
    """Let ignore boxes take part like any other, and mark the priors they win by -1.

    Args:
        assign (Callable): What an assigner decides about boxes, ``bboxes`` and ``labels``.
        gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
        gt_instances_ignore (:obj:`InstanceData`): ``bboxes`` (m, 4). A label below 0, or none,
            counts as class 0. Boxes of no area take no part.
        num_classes (int): Number of classes.

    Raises:
        ValueError: If an ignore box is not finite.
    """
    bboxes, labels = get_box_tensor(gt_instances.bboxes), gt_instances.labels
    ignored = _read(gt_instances_ignore).to(bboxes.dtype)
    of_ignored = gt_instances_ignore.get('labels', labels.new_zeros(len(ignored)))
    # To some assigners every prior is as good as any for a box of no area, and they give it all.
    whole = (ignored[:, 2:] > ignored[:, :2]).all(1)
    ignored, of_ignored = ignored[whole], of_ignored[whole]
    result = assign(
        InstanceData(
            bboxes=torch.cat([bboxes, ignored]),
            labels=torch.cat([labels, of_ignored.clamp(min=0, max=num_classes - 1)]),
        )
    )
    won = result.gt_inds > len(bboxes)
    result.num_gts = len(bboxes)
    result.gt_inds = torch.where(won, -1, result.gt_inds)
    if result.labels is not None:
        result.labels = torch.where(won, -1, result.labels)
    return result


def assign_uncovered(
    assign: Callable[[Tensor, list[int]], AssignResult],
    priors: Tensor,
    level_sizes: list[int],
    gt_instances_ignore: InstanceData,
    threshold: float,
) -> AssignResult:
    """Let an assigner see only the priors that ignore boxes do not cover; the others become -1.

    Args:
        assign (Callable): What an assigner decides about some priors, given as their indices,
            int64, with as many of each level as it is told.
        priors (Tensor): Anchor boxes (n, 4) or points (n, 2), see :func:`is_covered`.
        level_sizes (list[int]): Priors a level.
        gt_instances_ignore (:obj:`InstanceData`): ``bboxes`` (m, 4).
        threshold (float): See :func:`is_covered`.

    Raises:
        ValueError: If an ignore box is not finite.
    """
    covered = is_covered(priors.float(), _read(gt_instances_ignore), threshold)
    left = (~covered).nonzero().squeeze(1)
    gt_inds = torch.where(covered, -1, 0)
    max_overlaps = torch.zeros(len(priors), device=priors.device)
    labels = torch.full_like(gt_inds, -1)
    if not len(left):
        return AssignResult(0, gt_inds, max_overlaps, labels=labels)
    sizes = [int((~level).sum()) for level in covered.split(level_sizes)]
    result = assign(left, sizes)
    gt_inds[left] = result.gt_inds
    for whole, part in ((max_overlaps, result.max_overlaps), (labels, result.labels)):
        if part is not None:
            whole[left] = part.to(whole.dtype)
    whole = AssignResult(result.num_gts, gt_inds, max_overlaps, labels=labels)
    for name, value in result._extra_properties.items():
        if name == 'shadowed_labels' and value is not None:  # prior and class
            value = torch.stack([left[value[:, 0]], value[:, 1]], 1)
        whole.set_extra_property(name, value)
    return whole


def _read(gt_instances_ignore: InstanceData) -> Tensor:
    ignored = get_box_tensor(gt_instances_ignore.bboxes).float()
    if not ignored.isfinite().all():
        raise ValueError(
            'gt_instances_ignore.bboxes holds NaN or infinite values, expected finite x1 y1 x2 y2 '
            'in pixels'
        )
    return ignored


def none_given(gt_instances_ignore: InstanceData | None) -> bool:
    """Whether there are no ignore boxes."""
    return gt_instances_ignore is None or not len(gt_instances_ignore)
