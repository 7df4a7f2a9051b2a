"""Statistics of assignments, from tensors to tensors.

Sums stay on the device, so that a training run can count every step and read the sums rarely.
"""

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from mmdet_lla.assigners.geometry import is_inside, pair_iou, with_area

from .recording import Assignment

#: Sums of :func:`sum_statistics`, before the positive priors of each level.
SUMS = (
    'images',
    'gts',
    'gts_without_prior',
    'positives',
    'outside',
    'pred_iou',
    'prior_iou',
    'compared',
    'contested',
)


def get_centers(priors: Tensor) -> Tensor:
    """Return the centers of priors in any of mmdet's forms.

    Args:
        priors (Tensor): Points (n, 2), points with one stride (n, 3) or two, ``x y s s``
            (n, 4), or anchor boxes ``x1 y1 x2 y2`` (n, 4). Priors of size 4 are boxes if no side
            is negative: points with strides exceed their stride in x or y after the first cells.

    Returns:
        Tensor: x, y in pixels, (n, 2).

    Example:
        >>> get_centers(torch.tensor([[0.0, 0.0, 8.0, 8.0]])).tolist()
        [[4.0, 4.0]]
    """
    if priors.size(1) != 4:
        return priors[:, :2]
    return torch.where(_are_boxes(priors), (priors[:, :2] + priors[:, 2:]) / 2, priors[:, :2])


def _are_boxes(priors: Tensor) -> Tensor:
    """Whether priors are anchor boxes; a tensor, which needs no synchronization."""
    if priors.size(1) != 4:
        return torch.zeros((), dtype=torch.bool, device=priors.device)
    return (priors[:, 2:] >= priors[:, :2]).all()


def compute_candidates(call: Assignment) -> Tensor:
    """Compute the priors that the assigner gives each gt alone, also without ignore regions.

    For LLA these are exactly the K candidates of a gt; for any other assigner the priors of a gt
    without others in the image.

    Args:
        call (Assignment): From :func:`~mmdet_lla.analysis.recording.record_assignments`. A copy of
            its assigner is called once per gt.

    Returns:
        Tensor: bool, (num_gts, num_priors).
    """
    gt_instances, gt_inds = call.gt_instances, call.result.gt_inds
    candidates = gt_inds.new_zeros((len(gt_instances), len(gt_inds)), dtype=torch.bool)
    for i in range(len(gt_instances)):
        candidates[i] = call.reassign(gt_instances[i : i + 1]).gt_inds > 0
    return candidates


@torch.no_grad()
def sum_statistics(call: Assignment, candidates: Tensor | None = None) -> Tensor:
    """Sum the statistics of one image, without synchronizing with the device.

    Args:
        call (Assignment): Assignment of the image.
        candidates (Tensor, optional): Result of :func:`compute_candidates`; without them no prior
            counts as compared or contested.

    Returns:
        Tensor: float64, (len(SUMS) + len(call.strides),), on the device of the priors: ``SUMS`` and
        the positive priors of each level. ``pred_iou`` and ``prior_iou``, sums over positive priors
        of the IoU of the gt with the predicted box and with the prior itself, are NaN if the head
        passes no predictions, or priors are points.
    """
    gt_inds = call.result.gt_inds
    gt_bboxes = get_box_tensor(call.gt_instances.bboxes)  # (num_gts, 4)
    sums = torch.zeros(len(SUMS) + len(call.strides), dtype=torch.float64, device=gt_inds.device)
    sums[0] = 1
    if not len(gt_bboxes):
        return sums
    priors = get_box_tensor(call.pred_instances.priors)
    positive = gt_inds > 0  # (num_priors,)
    own_gts = gt_bboxes[(gt_inds - 1).clamp(min=0)]  # (num_priors, 4)
    num_positives = torch.zeros_like(gt_inds[:1]).repeat(len(gt_bboxes) + 1)
    num_positives.scatter_add_(0, gt_inds.clamp(min=0), torch.ones_like(gt_inds))
    values = dict(
        gts=len(gt_bboxes),
        gts_without_prior=(num_positives[1:] == 0).sum(),
        positives=positive.sum(),
        outside=(positive & ~is_inside(own_gts.T, get_centers(priors).T)).sum(),
        pred_iou=float('nan'),
        prior_iou=float('nan'),
    )
    if 'bboxes' in call.pred_instances:
        pred_bboxes = get_box_tensor(call.pred_instances.bboxes)
        values['pred_iou'] = _sum_ious(pred_bboxes, own_gts, positive)
    if priors.size(1) == 4:
        prior_iou = _sum_ious(priors, own_gts, positive)
        values['prior_iou'] = torch.where(_are_boxes(priors), prior_iou, float('nan'))
    if candidates is not None:
        contested = find_contested(gt_inds, candidates)
        values.update(compared=positive.sum(), contested=contested.sum())
    for i, name in enumerate(SUMS[1:], 1):
        sums[i] = values.get(name, 0)
    if call.levels is not None:
        counted = (positive & (call.levels >= 0)).to(sums.dtype)
        sums[len(SUMS) :].scatter_add_(0, call.levels.clamp(min=0), counted)
    return sums


def find_contested(gt_inds: Tensor, candidates: Tensor) -> Tensor:
    """Find the positive priors that are candidates of two or more gts.

    Args:
        gt_inds (Tensor): As in mmdet's AssignResult, int64, (num_priors,).
        candidates (Tensor): See :func:`compute_candidates`, bool, (num_gts, num_priors).

    Returns:
        Tensor: bool, (num_priors,).

    Example:
        >>> candidates = torch.tensor([[True, False], [True, True]])
        >>> find_contested(torch.tensor([1, 2]), candidates).tolist()
        [True, False]
    """
    return (gt_inds > 0) & (candidates.sum(0) > 1)


def _sum_ious(boxes: Tensor, gts: Tensor, positive: Tensor) -> Tensor:
    iou = pair_iou(with_area(boxes.float()), with_area(gts.float()))
    return torch.where(positive, iou, 0).sum(dtype=torch.float64)


def summarize(sums: Tensor) -> dict[str, float]:
    """Compute means and fractions, read from the device.

    Args:
        sums (Tensor): Result of :func:`sum_statistics`, or the sum of several.

    Returns:
        dict[str, float]: ``priors_per_gt``; ``gts_without_prior``, a fraction of gts;
        ``positives_per_image``; and of positive priors the fractions ``outside``, ``contested`` (of
        those compared) and ``level_0``..., and the means ``pred_iou`` and ``prior_iou``. Unknown
        and undefined values are left out.
    """
    total = dict(zip(SUMS, sums[: len(SUMS)].tolist(), strict=True))
    positives, gts = total['positives'], total['gts']
    ratios = dict(
        priors_per_gt=(positives, gts),
        gts_without_prior=(total['gts_without_prior'], gts),
        positives_per_image=(positives, total['images']),
        outside=(total['outside'], positives),
        contested=(total['contested'], total['compared']),
        pred_iou=(total['pred_iou'], positives),
        prior_iou=(total['prior_iou'], positives),
    )
    levels = sums[len(SUMS) :].tolist()
    ratios.update({f'level_{i}': (level, sum(levels)) for i, level in enumerate(levels)})
    return {name: part / whole for name, (part, whole) in ratios.items() if whole and part == part}


def compute_agreement(first: Tensor, second: Tensor) -> float:
    """Compute how far two assignments of the same priors agree.

    Args:
        first, second (Tensor): ``gt_inds``, (num_priors,).

    Returns:
        float: Of the priors that are positive in either, the fraction with the same gt in both; 1
        without such priors.

    Example:
        >>> compute_agreement(torch.tensor([1, 2, 0]), torch.tensor([1, 1, 0]))
        0.5
    """
    either = (first > 0) | (second > 0)
    same = either & (first == second)
    return float(same.sum() / either.sum()) if either.any() else 1.0
