"""What a (box, prior) pair costs: focal loss + weight x (-log IoU), in float32.

The identity it rests on: against a box of class c, the focal loss of a prior summed over the
classes is ``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss of calling class k absent
and ``pos_c`` that of calling class c present. The sum is taken once a prior, and no table of
boxes x priors x classes is made.
(mmdet's ``FocalLossCost`` leaves out the sum over k and so ranks the priors of a box differently.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

#: IoUs are not taken smaller than this, so that -log IoU stays below 15.95 (reference, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: Probabilities are not taken smaller than this under the logarithm, as in mmdet's FocalLossCost.
PROB_EPS = 1e-12

#: Scores worked on at a time: few enough for a cache, enough to share between threads.
SCORE_CHUNK = 1 << 18


def focal_loss(scores: Tensor, present: bool, alpha: float, gamma: float, form: str) -> Tensor:
    """Focal loss of calling a class present, or absent (Lin et al. 2017).

    Args:
        scores (Tensor): Logits or probabilities of the class, float32, any shape.
        present (bool): Whether the class is there.
        alpha (float): Weight of the present class.
        gamma (float): Power of the modulating factor.
        form (str): 'logits' or 'probs'.

    Returns:
        Tensor: Loss >= 0, of the shape of ``scores``.
    """
    if form == 'logits':
        against = -scores if present else scores
        loss, factor = F.softplus(against), against.sigmoid().pow_(gamma)
    else:
        wrong, right = (1 - scores, scores) if present else (scores, 1 - scores)
        loss, factor = right.clamp(min=PROB_EPS).log_().neg_(), wrong**gamma
    return loss.mul_(factor).mul_(alpha if present else 1 - alpha)


def absent_cost(scores: Tensor, alpha: float, gamma: float, form: str) -> Tensor:
    """Focal loss of a prior that is background: ``sum_k neg_k``.

    Args:
        scores (Tensor): Shape (num_priors, num_classes).
        alpha, gamma, form: See :func:`focal_loss`.

    Returns:
        Tensor: Shape (num_priors,).
    """
    step = max(SCORE_CHUNK // scores.size(1), 1)
    return torch.cat([focal_loss(part, False, alpha, gamma, form).sum(1)
                      for part in scores.split(step)])


def class_cost(absent: Tensor, scores: Tensor, alpha: float, gamma: float, form: str) -> Tensor:
    """Focal loss of a prior against a box, summed over all classes.

    Args:
        absent (Tensor): :func:`absent_cost` of the prior.
        scores (Tensor): The prior's score of the box's class, broadcast against ``absent``.
        alpha, gamma, form: See :func:`focal_loss`.

    Returns:
        Tensor: Cost >= 0, of the broadcast shape.
    """
    cost = focal_loss(scores, True, alpha, gamma, form) + absent
    return cost.sub_(focal_loss(scores, False, alpha, gamma, form)).clamp_(min=0)


def with_area(boxes: Tensor) -> Tensor:
    """Boxes as :func:`pair_iou` reads them.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (n, 4).

    Returns:
        Tensor: x1, y1, x2, y2 and area, 0 if a side is negative, shape (5, n).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_(min=0)
    return torch.cat([boxes.T, (sides[:, 0] * sides[:, 1]).unsqueeze(0)])


def pair_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes, pair by pair; 0 where the union has no area.

    Args:
        boxes1, boxes2 (Tensor): See :func:`with_area`, shapes (5, ...), broadcast.

    Returns:
        Tensor: IoU in [0, 1], of the broadcast shape.
    """
    width = torch.minimum(boxes1[2], boxes2[2]).sub_(torch.maximum(boxes1[0], boxes2[0]))
    height = torch.minimum(boxes1[3], boxes2[3]).sub_(torch.maximum(boxes1[1], boxes2[1]))
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = (boxes1[4] + boxes2[4]).sub_(inter).clamp_(min=IOU_EPS)
    return inter.div_(union)


def iou_cost(iou: Tensor) -> Tensor:
    """-log IoU, finite where the IoU is 0."""
    return iou.clamp(min=IOU_EPS).log_().neg_()
