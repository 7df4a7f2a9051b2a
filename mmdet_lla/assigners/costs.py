"""What a (box, prior) pair costs: focal loss + weight x (-log IoU), in float32.

The identity it rests on: against a box of class c, the focal loss of a prior summed over the
classes is ``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss of calling class k absent
and ``pos_c`` that of calling class c present. It does not depend on the box but for its class, so
that a table of classes x priors holds it all, and none of boxes x priors x classes is made.
(mmdet's ``FocalLossCost`` leaves out the sum over k and so ranks the priors of a box differently.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

#: IoUs are not taken smaller than this, so that -log IoU stays below 15.95 (reference, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: Probabilities are not taken smaller than this under the logarithm, as in mmdet's FocalLossCost.
PROB_EPS = 1e-12

#: Scores worked on at a time: what a processor's cache holds.
SCORE_CHUNK = 1 << 16


def focal_terms(scores: Tensor, alpha: float, gamma: float, form: str) -> tuple[Tensor, Tensor]:
    """Focal loss of calling a class present, and of calling it absent (Lin et al. 2017).

    Args:
        scores (Tensor): Logits or probabilities, float32, any shape.
        alpha (float): Weight of the present class.
        gamma (float): Power of the modulating factor.
        form (str): 'logits' or 'probs'.

    Returns:
        tuple[Tensor, Tensor]: ``pos`` and ``neg``, of the shape of ``scores``.
    """
    if form == 'logits':
        prob = scores.sigmoid()
        neg_log_not = F.softplus(scores)
        neg_log_prob = neg_log_not - scores  # softplus(-x) = softplus(x) - x
    else:
        prob = scores
        neg_log_prob = -prob.clamp(min=PROB_EPS).log()
        neg_log_not = -(1 - prob).clamp(min=PROB_EPS).log()
    neg = neg_log_not.mul_(prob**gamma).mul_(1 - alpha)
    pos = neg_log_prob.mul_((1 - prob)**gamma).mul_(alpha)
    return pos, neg


def class_costs(scores: Tensor, alpha: float, gamma: float, form: str) -> Tensor:
    """Focal loss of every prior against a box of every class, summed over all classes.

    Args:
        scores (Tensor): Shape (num_priors, num_classes).
        alpha, gamma, form: See :func:`focal_terms`.

    Returns:
        Tensor: Costs >= 0, shape (num_classes, num_priors).
    """
    out = scores.new_empty(scores.shape[::-1])
    step = max(SCORE_CHUNK // scores.size(1), 1)
    for i in range(0, len(scores), step):
        pos, neg = focal_terms(scores[i:i + step], alpha, gamma, form)
        absent = neg.sum(1, keepdim=True)
        out[:, i:i + step] = pos.sub_(neg).add_(absent).clamp_(min=0).T
    return out


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
