"""What a (box, prior) pair costs: focal loss + weight x (-log IoU), in float32.

The identity it rests on: against a box of class c, the focal loss of a prior summed over the
classes is ``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss of calling class k absent
and ``pos_c`` that of calling class c present. No table of boxes x priors x classes is made.
(mmdet's ``FocalLossCost`` leaves out the sum over k and so ranks the priors of a box differently.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

#: IoUs are not taken smaller than this, so that -log IoU stays below 15.95 (reference, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: Probabilities are not taken smaller than this under the logarithm, as in mmdet's FocalLossCost.
PROB_EPS = 1e-12


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
        not_prob = (-scores).sigmoid()
        neg_log_prob, neg_log_not = F.softplus(-scores), F.softplus(scores)
    else:
        prob, not_prob = scores, 1 - scores
        neg_log_prob = -prob.clamp(min=PROB_EPS).log()
        neg_log_not = -not_prob.clamp(min=PROB_EPS).log()
    return alpha * not_prob**gamma * neg_log_prob, (1 - alpha) * prob**gamma * neg_log_not


def absent_cost(scores: Tensor, alpha: float, gamma: float, form: str,
                chunk: int = 1 << 16) -> Tensor:
    """Focal loss of a prior that is background: ``sum_k neg_k``.

    Args:
        scores (Tensor): Shape (num_priors, num_classes).
        alpha, gamma, form: See :func:`focal_terms`.
        chunk (int): Scores to work on at a time, which keeps the memory small.

    Returns:
        Tensor: Shape (num_priors,).
    """
    out = scores.new_empty(len(scores))
    step = max(chunk // max(scores.size(1), 1), 1)
    for i in range(0, len(scores), step):
        out[i:i + step] = focal_terms(scores[i:i + step], alpha, gamma, form)[1].sum(1)
    return out


def class_cost(absent: Tensor, scores: Tensor, alpha: float, gamma: float, form: str) -> Tensor:
    """Focal loss of a prior against a box, summed over all classes.

    Args:
        absent (Tensor): :func:`absent_cost` of the prior.
        scores (Tensor): The prior's score of the box's class, same shape.
        alpha, gamma, form: See :func:`focal_terms`.

    Returns:
        Tensor: Cost >= 0, same shape.
    """
    pos, neg = focal_terms(scores, alpha, gamma, form)
    return (absent + pos - neg).clamp_(min=0)


def pair_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes, pair by pair; 0 where the union has no area.

    Args:
        boxes1, boxes2 (Tensor): ``x1 y1 x2 y2`` in pixels, shapes (..., 4), broadcast.

    Returns:
        Tensor: IoU in [0, 1], of the broadcast shape.
    """
    size = (torch.minimum(boxes1[..., 2:], boxes2[..., 2:]) -
            torch.maximum(boxes1[..., :2], boxes2[..., :2])).clamp_(min=0)
    inter = size[..., 0] * size[..., 1]
    area1, area2 = ((b[..., 2:] - b[..., :2]).clamp_(min=0).prod(-1) for b in (boxes1, boxes2))
    return inter / (area1 + area2 - inter).clamp_(min=IOU_EPS)


def iou_cost(iou: Tensor) -> Tensor:
    """-log IoU, finite where the IoU is 0."""
    return -iou.clamp(min=IOU_EPS).log()
