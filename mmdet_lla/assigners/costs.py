"""What a (box, prior) pair costs: class loss + weight x box loss, in float32.

The identity it rests on: against a box of class c, a loss of a prior summed over the classes is
``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss of calling class k absent and
``pos_c`` that of calling class c present. The sum is taken once a prior, and no table of
boxes x priors x classes is made.
(mmdet's ``FocalLossCost`` leaves out the sum over k and so ranks the priors of a box differently.)
"""

from typing import Callable, NamedTuple, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

#: IoUs are not taken smaller than this, so that -log IoU stays below 15.95 (reference, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: What mmdet's SimOTAAssigner adds to IoUs under the logarithm.
SIMOTA_EPS = 1e-7

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


def bce_loss(scores: Tensor, present: bool, form: str) -> Tensor:
    """Binary cross entropy of calling a class present, or absent.

    Args:
        scores, present, form: See :func:`focal_loss`.

    Returns:
        Tensor: Loss >= 0, of the shape of ``scores``; 100 at most for probabilities.
    """
    if form == 'logits':
        return F.softplus(-scores if present else scores)
    scores = scores.nan_to_num(0.0).clamp_(0, 1)  # it aborts on others, which are to be reported
    return F.binary_cross_entropy(scores, torch.full_like(scores, float(present)), reduction='none')


#: A loss of calling a class present (True) or absent, with all but scores and this given.
ClassLoss = Callable[[Tensor, bool], Tensor]


def absent_cost(scores: Tensor, loss: ClassLoss) -> Tensor:
    """Loss of a prior that is background: ``sum_k neg_k``.

    Args:
        scores (Tensor): Shape (num_priors, num_classes).
        loss (Callable): The class loss.

    Returns:
        Tensor: Shape (num_priors,).
    """
    step = max(SCORE_CHUNK // scores.size(1), 1)
    return torch.cat([loss(part, False).sum(1) for part in scores.split(step)])


def class_cost(absent: Tensor, scores: Tensor, loss: ClassLoss) -> Tensor:
    """Loss of a prior against a box, summed over all classes.

    Args:
        absent (Tensor): :func:`absent_cost` of the prior.
        scores (Tensor): The prior's score of the box's class, broadcast against ``absent``.
        loss (Callable): The class loss.

    Returns:
        Tensor: Cost >= 0, of the broadcast shape.
    """
    cost = loss(scores, True) + absent
    return cost.sub_(loss(scores, False)).clamp_(min=0)


def with_area(boxes: Tensor) -> Tensor:
    """Boxes as :func:`pair_iou` reads them.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (n, 4).

    Returns:
        Tensor: x1, y1, x2, y2 and area, 0 if a side is negative, shape (5, n).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_(min=0)
    return torch.cat([boxes.T, (sides[:, 0] * sides[:, 1]).unsqueeze(0)])


def is_inverted(boxes: Tensor) -> Tensor:
    """Which boxes (n, 4) have a negative side, bool (n,); those of no area have none."""
    return (boxes[:, 2:] < boxes[:, :2]).any(1)


def pair_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes, pair by pair; 0 where the union has no area.

    Args:
        boxes1, boxes2 (Tensor): See :func:`with_area`, shapes (5, ...), broadcast.

    Returns:
        Tensor: IoU in [0, 1], of the broadcast shape.
    """
    inter, union = pair_inter_and_union(boxes1, boxes2)
    return inter.div_(union)


def pair_inter_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union, the latter at least ``IOU_EPS``; see :func:`pair_iou`."""
    width = torch.minimum(boxes1[2], boxes2[2]).sub_(torch.maximum(boxes1[0], boxes2[0]))
    height = torch.minimum(boxes1[3], boxes2[3]).sub_(torch.maximum(boxes1[1], boxes2[1]))
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = (boxes1[4] + boxes2[4]).sub_(inter).clamp_(min=IOU_EPS)
    return inter, union


def iou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """-log IoU, finite where the IoU is 0 (LLA); boxes as in :func:`pair_iou`."""
    return pair_iou(boxes1, boxes2).clamp_(min=IOU_EPS).log_().neg_()


def iou_plus_eps_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """-log(IoU + 1e-7), not below 0 (mmdet's SimOTAAssigner); boxes as in :func:`pair_iou`."""
    return pair_iou(boxes1, boxes2).add_(SIMOTA_EPS).log_().neg_().clamp_(min=0)


def giou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """1 - GIoU, from 0 to 2 (Rezatofighi et al. 2019); boxes as in :func:`pair_iou`."""
    width = torch.maximum(boxes1[2], boxes2[2]).sub_(torch.minimum(boxes1[0], boxes2[0]))
    height = torch.maximum(boxes1[3], boxes2[3]).sub_(torch.minimum(boxes1[1], boxes2[1]))
    hull = width.clamp_(min=0).mul_(height.clamp_(min=0)).clamp_(min=IOU_EPS)
    inter, union = pair_inter_and_union(boxes1, boxes2)
    empty = 1 - union / hull
    return empty.add_(1).sub_(inter.div_(union)).clamp_(min=0, max=2)


#: Box losses, each with the most that it can be.
REG_COSTS = dict(
    iou=(iou_cost, 16.0), iou_plus_eps=(iou_plus_eps_cost, 16.2), giou=(giou_cost, 2.0)
)


class PairCosts(NamedTuple):
    """What the boxes and the priors of a picture cost each other.

    Attributes:
        preds, boxes (Tensor): Predicted and true boxes, see :func:`with_area`, shapes
            (5, num_priors) and (5, num_boxes).
        scores (Tensor): Of the priors, shape (num_priors, num_classes).
        absent (Tensor): :func:`absent_cost` of the priors, shape (num_priors,).
        classes (Tensor): Of the boxes, int64, shape (num_boxes,).
        class_loss, reg_cost (Callable): The class loss and the box cost.
        cls_weight, reg_weight (float): Their weights.
    """

    preds: Tensor
    boxes: Tensor
    scores: Tensor
    absent: Tensor
    classes: Tensor
    class_loss: ClassLoss
    reg_cost: Callable[[Tensor, Tensor], Tensor]
    cls_weight: float
    reg_weight: float

    def of_pairs(self, box: Tensor, prior: Tensor) -> Tensor:
        """Costs pair by pair, from a box index and a prior index of shape (num_pairs,)."""
        cost = self.reg_cost(self.preds.index_select(1, prior), self.boxes.index_select(1, box))
        place = (prior * self.scores.size(1)).add_(self.classes.index_select(0, box))
        return self._add_up(
            cost, self.absent.index_select(0, prior), self.scores.reshape(-1).index_select(0, place)
        )

    def of_table(self, box: Tensor, prior: Optional[Tensor]) -> Tensor:
        """Costs of boxes x priors, from a box index and a prior index (None for all)."""
        preds, absent, scores = self.preds, self.absent, self.scores
        if prior is not None:
            preds, absent, scores = (
                preds.index_select(1, prior),
                absent.index_select(0, prior),
                scores.index_select(0, prior),
            )
        cost = self.reg_cost(preds, self.boxes.index_select(1, box).unsqueeze(-1))
        # Of a single class, one row of class costs is that of every box.
        of_class = (
            scores.T
            if scores.size(1) == 1
            else (scores.T.index_select(0, self.classes.index_select(0, box)))
        )
        return self._add_up(cost, absent, of_class)

    def _add_up(self, cost: Tensor, absent: Tensor, scores: Tensor) -> Tensor:
        """Total of a box cost, which is overwritten, and the class cost."""
        cls = class_cost(absent, scores, self.class_loss).mul_(self.cls_weight)
        return cost.mul_(self.reg_weight).add_(cls)
