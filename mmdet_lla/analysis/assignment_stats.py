"""What assignments amount to, in numbers: tensors in, tensors out.

All that is counted stays on the device, so that a training run can count every step and read the
sums out now and then.
"""

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from mmdet_lla.assigners.geometry import is_inside, pair_iou, with_area

from .recording import Assignment

#: What :func:`tally` sums, before the positive priors of each level.
SUMS = (
    'pictures',
    'boxes',
    'boxes_without',
    'positives',
    'outside',
    'pred_iou',
    'prior_iou',
    'compared',
    'contested',
)


def centers_of(priors: Tensor) -> Tensor:
    """Centres of priors in any of mmdet's forms.

    Args:
        priors (Tensor): Points (n, 2), points with a stride (n, 3) or with two, ``x y s s``
            (n, 4), or anchor boxes ``x1 y1 x2 y2`` (n, 4). Of the last two, boxes are those of
            which none has a negative side: points with strides pass their stride in x or y
            within the first cells.

    Returns:
        Tensor: x, y in pixels, (n, 2).
    """
    if priors.size(1) != 4:
        return priors[:, :2]
    return torch.where(_are_boxes(priors), (priors[:, :2] + priors[:, 2:]) / 2, priors[:, :2])


def _are_boxes(priors: Tensor) -> Tensor:
    """Whether priors are anchor boxes; a tensor, so that nothing waits for the device."""
    if priors.size(1) != 4:
        return torch.zeros((), dtype=torch.bool, device=priors.device)
    return (priors[:, 2:] >= priors[:, :2]).all()


def are_outside(gt_inds: Tensor, centers: Tensor, gt_bboxes: Tensor) -> Tensor:
    """Which priors went to a box that their centre does not lie in, by 0.01 px on every side.

    Args:
        gt_inds (Tensor): As in mmdet's AssignResult, int64, (n,).
        centers (Tensor): Centres of the priors, (n, 2).
        gt_bboxes (Tensor): ``x1 y1 x2 y2``, at least one, (k, 4).

    Returns:
        Tensor: bool, (n,); False for priors that went to no box.
    """
    own = gt_bboxes[(gt_inds - 1).clamp(min=0)]
    return (gt_inds > 0) & ~is_inside(own.T, centers.T)


def wishes(call: Assignment) -> Tensor:
    """What every box takes when it is alone in the picture, without ignore boxes too.

    For LLA, these are exactly a box's K picks; for any other assigner, the priors it would give
    the box if there were no other.

    Args:
        call (Assignment): From :func:`~mmdet_lla.analysis.recording.recorded`. Its assigner is
            called once a box, on a copy.

    Returns:
        Tensor: bool, (num_boxes, num_priors).
    """
    gt_instances = call.gt_instances
    taken = call.result.gt_inds.new_zeros(
        (len(gt_instances), len(call.result.gt_inds)), dtype=torch.bool
    )
    for i in range(len(gt_instances)):
        taken[i] = call.again(gt_instances[i : i + 1]).gt_inds > 0
    return taken


@torch.no_grad()
def tally(call: Assignment, wanted: Tensor | None = None) -> Tensor:
    """The sums of one picture, without waiting for the device.

    Args:
        call (Assignment): The picture's.
        wanted (Tensor, optional): Its :func:`wishes`; without them, nothing is compared and
            nothing counts as contested.

    Returns:
        Tensor: float64, (len(SUMS) + len(call.strides),), on the priors' device: ``SUMS`` and the
        positive priors of each level. ``pred_iou`` and ``prior_iou``, sums over positive priors
        of the IoU of their box with what was predicted there and with the prior itself, are NaN
        if the head hands over no predictions, or priors that are points.
    """
    gt_inds = call.result.gt_inds
    gt_bboxes = get_box_tensor(call.gt_instances.bboxes)
    num_boxes = len(gt_bboxes)
    sums = torch.zeros(len(SUMS) + len(call.strides), dtype=torch.float64, device=gt_inds.device)
    sums[0] = 1
    if not num_boxes:
        return sums
    priors = get_box_tensor(call.pred_instances.priors)
    positive = gt_inds > 0
    own = gt_bboxes[(gt_inds - 1).clamp(min=0)]
    values = dict(
        boxes=num_boxes,
        boxes_without=(priors_per_box(gt_inds, num_boxes) == 0).sum(),
        positives=positive.sum(),
        outside=are_outside(gt_inds, centers_of(priors), gt_bboxes).sum(),
        pred_iou=float('nan'),
        prior_iou=float('nan'),
    )
    if 'bboxes' in call.pred_instances:
        values['pred_iou'] = _sum_of_ious(get_box_tensor(call.pred_instances.bboxes), own, positive)
    if priors.size(1) == 4:
        values['prior_iou'] = torch.where(
            _are_boxes(priors), _sum_of_ious(priors, own, positive), float('nan')
        )
    if wanted is not None:
        values.update(compared=positive.sum(), contested=are_contested(gt_inds, wanted).sum())
    for i, name in enumerate(SUMS[1:], 1):
        sums[i] = values.get(name, 0)
    if call.levels is not None:
        known = (positive & (call.levels >= 0)).to(sums.dtype)
        sums[len(SUMS) :].scatter_add_(0, call.levels.clamp(min=0), known)
    return sums


def priors_per_box(gt_inds: Tensor, num_boxes: int) -> Tensor:
    """How many priors went to each box.

    Args:
        gt_inds (Tensor): As in mmdet's AssignResult, int64, (n,).
        num_boxes (int): Number of boxes.

    Returns:
        Tensor: int64, (num_boxes,).
    """
    count = gt_inds.new_zeros(num_boxes + 1)
    return count.scatter_add_(0, gt_inds.clamp(min=0), torch.ones_like(gt_inds))[1:]


def are_contested(gt_inds: Tensor, wanted: Tensor) -> Tensor:
    """Which priors went to a box though two or more would take them.

    Args:
        gt_inds (Tensor): As in mmdet's AssignResult, int64, (n,).
        wanted (Tensor): See :func:`wishes`, bool, (num_boxes, n).

    Returns:
        Tensor: bool, (n,).
    """
    return (gt_inds > 0) & (wanted.sum(0) > 1)


def _sum_of_ious(boxes: Tensor, own: Tensor, positive: Tensor) -> Tensor:
    iou = pair_iou(with_area(boxes.float()), with_area(own.float()))
    return torch.where(positive, iou, 0).sum(dtype=torch.float64)


def summarize(sums: Tensor) -> dict[str, float]:
    """Means and shares, read from the device.

    Args:
        sums (Tensor): Of :func:`tally`, or the sum of several.

    Returns:
        dict[str, float]: ``priors_per_box``; ``boxes_without``, the share of boxes that no prior
        went to; ``positives_per_picture``; and of positive priors: ``outside`` (share),
        ``contested`` (share, of those that were compared), ``pred_iou`` and ``prior_iou`` (means),
        ``level_0``... (shares). What is not known, or of nothing, is left out.
    """
    known = dict(zip(SUMS, sums[: len(SUMS)].tolist(), strict=True))
    positives = known['positives']
    shares = dict(
        priors_per_box=(positives, known['boxes']),
        boxes_without=(known['boxes_without'], known['boxes']),
        positives_per_picture=(positives, known['pictures']),
        outside=(known['outside'], positives),
        contested=(known['contested'], known['compared']),
        pred_iou=(known['pred_iou'], positives),
        prior_iou=(known['prior_iou'], positives),
    )
    levels = sums[len(SUMS) :].tolist()
    shares.update({f'level_{i}': (level, sum(levels)) for i, level in enumerate(levels)})
    return {name: part / whole for name, (part, whole) in shares.items() if whole and part == part}


def agreement(first: Tensor, second: Tensor) -> float:
    """How far two assignments of the same priors agree.

    Args:
        first, second (Tensor): ``gt_inds``, (n,).

    Returns:
        float: Of the priors that went to a box in either, the share that went to the same box in
        both; 1 if there are none.
    """
    either = (first > 0) | (second > 0)
    same = either & (first == second)
    return float(same.sum() / either.sum()) if either.any() else 1.0
