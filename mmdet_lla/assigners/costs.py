"""What a (box, prior) pair costs: class loss + weight x box loss, in float32.

The identity it rests on: against a box of class c, a loss of a prior summed over the classes is
``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss of calling class k absent and
``pos_c`` that of calling class c present. The sum is taken once a prior, and no table of
boxes x priors x classes is made. Of a single class, ``pos`` is all that is left.
(mmdet's ``FocalLossCost`` leaves out the sum over k and so ranks the priors of a box differently.)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .candidates import Rule, aligned, chunk_size

#: IoUs are not taken smaller than this, so that -log IoU stays below 15.95 (reference, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: Areas are not taken smaller than this, in square pixels, so that unions can be divided by.
AREA_EPS = torch.finfo(torch.float32).eps

#: What mmdet's SimOTAAssigner adds to IoUs under the logarithm.
SIMOTA_EPS = 1e-7

#: Probabilities are not taken smaller than this under the logarithm, as in mmdet's FocalLossCost.
PROB_EPS = 1e-12

#: The most that torch's binary cross entropy of a probability is.
MOST_ENTROPY = 100.0

#: Scores worked on at a time: few enough for a cache, enough to share between threads.
SCORE_CHUNK = 1 << 17


class ClassLoss(NamedTuple):
    """Weight x (probability of the other answer)^gamma x cross entropy, a class.

    See :func:`focal_loss` and :func:`bce_loss`.

    Attributes:
        form (str): Whether scores are 'logits' or 'probs'.
        present, absent (float): Weight of the answers.
        gamma (float): Power of the modulating factor.
        most (float): Cross entropies of probabilities are not taken larger.
    """

    form: str
    present: float
    absent: float
    gamma: float
    most: float

    def of_present(self, scores: Tensor) -> Tensor:
        """Loss of calling a class present, of the shape of ``scores``."""
        if self.form == 'logits':
            against = -scores
            entropy, wrong = F.softplus(against), against.sigmoid_()
        else:
            entropy, wrong = scores.log().neg_().clamp_(max=self.most), 1 - scores
        return entropy.mul_(wrong.pow_(self.gamma)).mul_(self.present)

    def of_absent(self, scores: Tensor) -> Tensor:
        """Loss of calling a class absent, of the shape of ``scores``."""
        return self._log_absent(scores).mul_(-self.absent)

    def of_all_absent(self, scores: Tensor) -> Tensor:
        """Loss of a prior that is background, ``sum_k neg_k``.

        Args:
            scores (Tensor): Shape (num_priors, num_classes).

        Returns:
            Tensor: Shape (num_priors,).
        """
        step = max(chunk_size(SCORE_CHUNK, scores.device) // scores.size(1), 1)
        sums = [self._log_absent(part).sum(1) for part in scores.split(step)]
        return (sums[0] if len(sums) == 1 else torch.cat(sums)).mul_(-self.absent)

    def _log_absent(self, scores: Tensor) -> Tensor:
        """Log of the probability that a class is absent, times the modulating factor."""
        if self.form == 'logits':
            # A logarithm of sigmoids takes half the time of a softplus. They die out at 88, where
            # the softplus has long been the logit itself.
            against = -scores
            absent = against.sigmoid()
            wrong = 1 - absent
            log = absent.clamp_(min=torch.finfo(absent.dtype).tiny).log_()
            log = torch.minimum(log, against, out=log)
            return log.mul_(wrong.pow_(self.gamma))
        log = (1 - scores).log_().clamp_(min=-self.most)
        return log.mul_(scores.pow(self.gamma))

    def of_class(self, absent: Tensor, scores: Tensor) -> Tensor:
        """Loss of a prior against a box, summed over all classes.

        Args:
            absent (Tensor): :meth:`of_all_absent` of the prior.
            scores (Tensor): The prior's score of the box's class, broadcast against ``absent``.

        Returns:
            Tensor: Loss >= 0, of the broadcast shape.
        """
        if self.form == 'logits':
            neg, prob = F.softplus(scores), scores.sigmoid()
            pos, wrong = neg - scores, 1 - prob
        else:
            neg = (1 - scores).log_().neg_().clamp_(max=self.most)
            pos = scores.log().neg_().clamp_(max=self.most)
            wrong, prob = 1 - scores, scores.clone()
        cost = torch.addcmul(absent, pos, wrong.pow_(self.gamma), value=self.present)
        return cost.addcmul_(neg, prob.pow_(self.gamma), value=-self.absent).clamp_(min=0)

    def most_present(self, lowest: np.ndarray) -> np.ndarray:
        """No less than the loss of calling a class present whose score is at least ``lowest``."""
        if self.form == 'logits':
            return self.present * np.logaddexp(0.0, -lowest)
        return np.full_like(lowest, self.present * self.most)


def focal_loss(alpha: float, gamma: float, form: str, weight: float = 1.0) -> ClassLoss:
    """Focal loss (Lin et al. 2017).

    Args:
        alpha (float): Weight of the present class.
        gamma (float): Power of the modulating factor.
        form (str): 'logits' or 'probs'.
        weight (float): Weight of the whole. Defaults to 1.
    """
    return ClassLoss(form, weight * alpha, weight * (1 - alpha), gamma, -math.log(PROB_EPS))


def bce_loss(form: str, weight: float = 1.0) -> ClassLoss:
    """Binary cross entropy; see :func:`focal_loss`."""
    return ClassLoss(form, weight, weight, 0.0, MOST_ENTROPY)


def with_area(boxes: Tensor) -> Tensor:
    """Boxes as :func:`pair_iou` reads them.

    Args:
        boxes (Tensor): ``x1 y1 x2 y2`` in pixels, shape (n, 4).

    Returns:
        Tensor: x1, y1, x2, y2 and area, at least ``AREA_EPS``, shape (5, n).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_(min=0)
    area = (sides[:, 0] * sides[:, 1]).clamp_(min=AREA_EPS)
    return torch.cat([boxes.T, area.unsqueeze(0)])


def is_inverted(boxes: Tensor) -> Tensor:
    """Which boxes (n, 4) have a negative side, bool (n,); those of no area have none."""
    return (boxes[:, 2:] < boxes[:, :2]).any(1)


def pair_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of boxes, pair by pair; 0 where they do not meet.

    Args:
        boxes1, boxes2 (Tensor): See :func:`with_area`, shapes (5, ...), broadcast.

    Returns:
        Tensor: IoU in [0, 1], of the broadcast shape.
    """
    inter, union = pair_inter_and_union(boxes1, boxes2)
    return inter.div_(union)


def pair_inter_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union, the latter not 0; see :func:`pair_iou`."""
    boxes1, boxes2 = aligned(boxes1, boxes2), aligned(boxes2, boxes1)
    sides = torch.minimum(boxes1[2:4], boxes2[2:4]).sub_(torch.maximum(boxes1[:2], boxes2[:2]))
    inter = sides.clamp_(min=0)[0].mul_(sides[1])
    union = (boxes1[4] + boxes2[4]).sub_(inter)
    return inter, union


def iou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """-log IoU, finite where the IoU is 0 (LLA); boxes as in :func:`pair_iou`."""
    inter, union = pair_inter_and_union(boxes1, boxes2)
    return union.div_(inter).clamp_(min=1, max=1 / IOU_EPS).log_()


def iou_plus_eps_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """-log(IoU + 1e-7), not below 0 (mmdet's SimOTAAssigner); boxes as in :func:`pair_iou`."""
    return pair_iou(boxes1, boxes2).add_(SIMOTA_EPS).log_().neg_().clamp_(min=0)


def giou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """1 - GIoU, from 0 to 2 (Rezatofighi et al. 2019); boxes as in :func:`pair_iou`."""
    boxes1, boxes2 = aligned(boxes1, boxes2), aligned(boxes2, boxes1)
    sides = torch.maximum(boxes1[2:4], boxes2[2:4]).sub_(torch.minimum(boxes1[:2], boxes2[:2]))
    # Two boxes of no area fill theirs.
    hull = sides.clamp_(min=0)[0].mul_(sides[1]).clamp_(min=2 * AREA_EPS)
    inter, union = pair_inter_and_union(boxes1, boxes2)
    empty = 1 - union / hull
    return empty.add_(1).sub_(inter.div_(union)).clamp_(min=0, max=2)


#: Box losses, each with the most that it can be.
REG_COSTS = dict(
    iou=(iou_cost, 16.0), iou_plus_eps=(iou_plus_eps_cost, 16.2), giou=(giou_cost, 2.0)
)


class PairCosts(NamedTuple):
    """What the boxes and the priors of a batch cost each other.

    Boxes are one list; a prior's index in the batch is ``picture * num_priors + prior``. Costs are
    float32 and at least 0.

    Attributes:
        preds, boxes (Tensor): Predicted and true boxes, see :func:`with_area`, shapes
            (5, num_pictures * num_priors) and (5, num_boxes).
        scores (Tensor): Of the priors, shape (num_pictures, num_priors, num_classes).
        base (Tensor): :func:`base_cost` of the priors, shape (num_pictures * num_priors,).
        classes (Tensor): Of the boxes, int64, shape (num_boxes,); not looked at if there is one.
        class_loss (ClassLoss): The class loss, its weight included.
        reg_cost (Callable): The box cost.
        reg_weight (float): Its weight.
        rule (Rule): Which pairs go without penalty.
        penalty (float): What the others pay.
    """

    preds: Tensor
    boxes: Tensor
    scores: Tensor
    base: Tensor
    classes: Tensor
    class_loss: ClassLoss
    reg_cost: Callable[[Tensor, Tensor], Tensor]
    reg_weight: float
    rule: Rule
    penalty: float

    def of_pairs(self, box: Tensor, prior: Tensor) -> Tensor:
        """Costs pair by pair, without penalties.

        Args:
            box, prior (Tensor): Box and prior (in the batch) of each pair, int64, (num_pairs,).

        Returns:
            Tensor: Shape (num_pairs,).
        """
        cls = self.base.index_select(0, prior)
        num_classes = self.scores.size(2)
        if num_classes > 1:
            place = torch.add(self.classes.index_select(0, box), prior, alpha=num_classes)
            cls = self.class_loss.of_class(cls, self.scores.flatten().index_select(0, place))
        preds, boxes = self.preds.index_select(1, prior), self.boxes.index_select(1, box)
        return torch.add(cls, self.reg_cost(preds, boxes), alpha=self.reg_weight)

    def penalty_of(self, box: Tensor, prior: Tensor) -> float | Tensor:
        """What pairs pay by the rule; see :meth:`of_pairs`."""
        outside = self.rule.outside(self.boxes.index_select(1, box), prior)
        return 0.0 if outside is None else outside * self.penalty

    def of_table(self, box: Tensor, picture: Tensor, prior: Tensor | None = None) -> Tensor:
        """Costs of boxes and many priors each of their pictures, penalties included.

        Args:
            box, picture (Tensor): Some boxes and their pictures, int64, shape (n,).
            prior (Tensor, optional): Index in the batch of the priors that a box looks at, int64,
                shape (n, m), or (1, m) for the same of all. Defaults to all of its picture,
                m = num_priors.

        Returns:
            Tensor: Shape (n, m).
        """
        preds, base = self.preds_of(picture, prior), self._rows_of(self.base[None], picture, prior)
        cls = base[0]
        if self.scores.size(2) > 1:
            classes = self.classes.index_select(0, box)
            if prior is None:
                scores = self.scores.transpose(1, 2)[picture, classes]
            else:
                scores = self.scores.flatten(0, 1)[prior, classes.unsqueeze(1)]
            cls = self.class_loss.of_class(cls, scores)
        boxes = self.boxes.index_select(1, box).unsqueeze(-1)
        cost = torch.add(cls, self.reg_cost(preds, boxes), alpha=self.reg_weight)
        outside = self.rule.outside(boxes, prior)
        return cost if outside is None else cost.add_(outside, alpha=self.penalty)

    def preds_of(self, picture: Tensor, prior: Tensor | None) -> Tensor:
        """Predicted boxes that boxes look at, (5, n or 1, m); see :meth:`of_table`."""
        return self._rows_of(self.preds, picture, prior)

    def _rows_of(self, values: Tensor, picture: Tensor, prior: Tensor | None) -> Tensor:
        """(k, num_pictures * num_priors) as boxes look at them, (k, n or 1, m)."""
        if prior is not None:
            return values.index_select(1, prior.flatten()).unflatten(1, prior.shape)
        values = values.unflatten(1, self.scores.shape[:2])
        # All boxes of a single picture look at the same.
        return values if len(self.scores) == 1 else values.index_select(1, picture)


def base_cost(scores: Tensor, class_loss: ClassLoss) -> Tensor:
    """The part of the class loss that is a prior's own, whatever the box's class.

    Args:
        scores (Tensor): Shape (num_pictures, num_priors, num_classes).
        class_loss (ClassLoss): The class loss.

    Returns:
        Tensor: Shape (num_pictures * num_priors,).
    """
    if scores.size(2) == 1:
        return class_loss.of_present(scores.flatten())
    return class_loss.of_all_absent(scores.flatten(0, 1))
