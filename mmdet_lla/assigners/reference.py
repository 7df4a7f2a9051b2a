"""LLA as plain dense code: the first file to read, and the oracle of the tests.

The rule of the paper (arXiv 2101.04307, section 3): the cost matrix is
``C = C_cls + lambda_1 C_reg + lambda_2 C_prior`` with the focal loss, ``-log IoU`` and 1 for priors
outside the gt; every gt takes its K cheapest priors, and a contested prior goes to the cheapest gt.
This code compares every gt with every prior and class, so it needs memory for all of them.
:mod:`.candidates`, :mod:`.costs` and :mod:`.matching` compute the same without these tables.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def assign_reference(
    points: Tensor,  # (num_priors, 2), x y in pixels
    pred_bboxes: Tensor,  # (num_priors, 4), x1 y1 x2 y2
    cls_scores: Tensor,  # (num_priors, num_classes), logits
    gt_bboxes: Tensor,  # (num_gts, 4)
    gt_labels: Tensor,  # (num_gts,)
    topk: int = 10,
    reg_weight: float = 1.5,
) -> Tensor:
    """Return the 1-based index of the gt matched to each prior, 0 for background, (num_priors,).

    >>> points = torch.tensor([[4.0, 4.0], [20.0, 4.0]])
    >>> boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [16.0, 0.0, 24.0, 8.0]])
    >>> label = torch.zeros(1, dtype=torch.long)
    >>> assign_reference(points, boxes, torch.zeros(2, 1), boxes[1:], label, topk=1).tolist()
    [0, 1]
    """
    cost = compute_cost(points, pred_bboxes, cls_scores, gt_bboxes, gt_labels, reg_weight)
    return match_reference(cost, topk) + 1


def compute_cost(points, pred_bboxes, cls_scores, gt_bboxes, gt_labels, reg_weight=1.5) -> Tensor:
    """Cost matrix (num_gts, num_priors): C = C_cls + 1.5 C_reg + 1000 C_prior."""
    target = F.one_hot(gt_labels, cls_scores.size(1)).to(cls_scores)  # (num_gts, num_classes)
    target, logits = torch.broadcast_tensors(target[:, None], cls_scores)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    p_right = torch.where(target > 0, logits.sigmoid(), (-logits).sigmoid())
    alpha = torch.where(target > 0, 0.25, 0.75)
    cls_cost = (alpha * (1 - p_right) ** 2 * entropy).sum(-1)  # focal loss over all classes

    gts = gt_bboxes[:, None]  # (num_gts, 1, 4)
    lower = torch.maximum(gts[..., :2], pred_bboxes[:, :2])
    upper = torch.minimum(gts[..., 2:], pred_bboxes[:, 2:])
    inter = (upper - lower).clamp(min=0).prod(-1)  # (num_gts, num_priors)
    area_gt, area_pred = (
        (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (gts, pred_bboxes)
    )
    eps = torch.finfo(torch.float32).eps
    iou = inter / (area_gt + area_pred - inter).clamp(min=eps)
    reg_cost = -iou.clamp(min=eps).log()  # IoU loss

    sides = torch.cat(
        [points - gts[..., :2], gts[..., 2:] - points], -1
    )  # (num_gts, num_priors, 4)
    outside = sides.amin(-1) <= 0.01
    return cls_cost + reg_weight * reg_cost + 1000.0 * outside


def match_reference(cost: Tensor, topk: int) -> Tensor:
    """Index of the gt matched to each prior, -1 for background, (num_priors,)."""
    # Each gt takes its K cheapest priors.
    taken = torch.zeros_like(cost, dtype=torch.bool)
    order = cost.sort(dim=1, stable=True).indices[:, :topk]  # (num_gts, K)
    taken.scatter_(1, order, True)
    # A prior taken by several gts goes to the cheapest of all gts.
    contested = taken.sum(0) > 1
    cheapest = cost.sort(dim=0, stable=True).indices[0]  # (num_priors,)
    matched = torch.where(contested, cheapest, taken.long().argmax(0))
    return torch.where(taken.any(0), matched, -1)
