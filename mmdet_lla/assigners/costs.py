"""Cost of a (gt, prior) pair: class loss + weight x box loss, in float32.

The class loss needs no table of gts x priors x classes. Against a gt of class c, the loss of a
prior summed over the classes is ``sum_k neg_k + pos_c - neg_c``, where ``neg_k`` is the loss for
class k being absent and ``pos_c`` that for class c being present. The sum is computed once per
prior. With a single class only ``pos`` remains. (mmdet's ``FocalLossCost`` omits the sum over k and
therefore ranks the priors of a gt differently.)
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .candidates import CandidateRule, chunk_size
from .geometry import AREA_EPS, align_dims, pair_inter_and_union, pair_iou

#: Lower bound of IoUs, so that -log IoU stays below 15.95 (reference code, `iou_loss`).
IOU_EPS = torch.finfo(torch.float32).eps

#: Added to IoUs under the logarithm by mmdet's SimOTAAssigner.
SIMOTA_EPS = 1e-7

#: Lower bound of probabilities under the logarithm, as in mmdet's FocalLossCost.
PROB_EPS = 1e-12

#: Upper bound of torch's binary cross entropy of a probability.
MAX_ENTROPY = 100.0

#: Scores per chunk: few enough for a cache, enough to share between threads.
SCORE_CHUNK = 1 << 17


class ClassLoss(NamedTuple):
    """Class loss of the costs; see :func:`focal_loss` and :func:`bce_loss`.

    The loss of a class is weight x (1 - probability of the right answer)^gamma x cross entropy.

    Attributes:
        form (str): Whether scores are 'logits' or 'probs'.
        pos_weight, neg_weight (float): Weight where the class is present and absent.
        gamma (float): Focusing exponent.
        max_entropy (float): Upper bound of cross entropies of probabilities.
    """

    form: str
    pos_weight: float
    neg_weight: float
    gamma: float
    max_entropy: float

    def positive(self, scores: Tensor) -> Tensor:
        """Compute the loss for a class being present, of the shape of ``scores``."""
        if self.form == 'logits':
            negated = -scores
            entropy, wrong = F.softplus(negated), negated.sigmoid_()
        else:
            entropy, wrong = scores.log().neg_().clamp_(max=self.max_entropy), 1 - scores
        return entropy.mul_(wrong.pow_(self.gamma)).mul_(self.pos_weight)

    def negative(self, scores: Tensor) -> Tensor:
        """Compute the loss for a class being absent, of the shape of ``scores``."""
        return self._log_absent(scores).mul_(-self.neg_weight)

    def background(self, scores: Tensor) -> Tensor:
        """Compute the loss of a prior that is background, ``sum_k neg_k``.

        Args:
            scores (Tensor): Shape (num_priors, num_classes).

        Returns:
            Tensor: Shape (num_priors,).
        """
        step = max(chunk_size(SCORE_CHUNK, scores.device) // scores.size(1), 1)
        sums = [self._log_absent(part).sum(1) for part in scores.split(step)]
        return (sums[0] if len(sums) == 1 else torch.cat(sums)).mul_(-self.neg_weight)

    def _log_absent(self, scores: Tensor) -> Tensor:
        """Compute the log probability that a class is absent, times the modulating factor."""
        if self.form == 'logits':
            # The logarithm of a sigmoid takes half the time of a softplus. Sigmoids vanish at 88,
            # where the softplus has long equaled the logit itself.
            negated = -scores
            absent = negated.sigmoid()
            wrong = 1 - absent
            log = absent.clamp_(min=torch.finfo(absent.dtype).tiny).log_()
            log = torch.minimum(log, negated, out=log)
            return log.mul_(wrong.pow_(self.gamma))
        log = (1 - scores).log_().clamp_(min=-self.max_entropy)
        return log.mul_(scores.pow(self.gamma))

    def of_class(self, background: Tensor, scores: Tensor) -> Tensor:
        """Compute the loss of a prior against a gt, summed over all classes.

        Args:
            background (Tensor): :meth:`background` of the prior.
            scores (Tensor): The prior's score of the gt's class, broadcast against ``background``.

        Returns:
            Tensor: Loss >= 0, of the broadcast shape.
        """
        if self.form == 'logits':
            neg, prob = F.softplus(scores), scores.sigmoid()
            pos, wrong = neg - scores, 1 - prob
        else:
            neg = (1 - scores).log_().neg_().clamp_(max=self.max_entropy)
            pos = scores.log().neg_().clamp_(max=self.max_entropy)
            wrong, prob = 1 - scores, scores.clone()
        cost = torch.addcmul(background, pos, wrong.pow_(self.gamma), value=self.pos_weight)
        return cost.addcmul_(neg, prob.pow_(self.gamma), value=-self.neg_weight).clamp_(min=0)

    def max_positive(self, min_score: np.ndarray) -> np.ndarray:
        """Bound :meth:`positive` of scores that are at least ``min_score`` from above."""
        if self.form == 'logits':
            return self.pos_weight * np.logaddexp(0.0, -min_score)
        return np.full_like(min_score, self.pos_weight * self.max_entropy)


def focal_loss(alpha: float, gamma: float, form: str, weight: float = 1.0) -> ClassLoss:
    """Create the focal loss (Lin et al. 2017).

    Args:
        alpha (float): Weight of the present class.
        gamma (float): Focusing exponent.
        form (str): 'logits' or 'probs'.
        weight (float): Weight of the whole loss. Defaults to 1.

    >>> loss = focal_loss(0.25, 2.0, 'logits')
    >>> round(loss.positive(torch.tensor([0.0])).item(), 4)  # 0.25 * 0.5^2 * log 2
    0.0433
    """
    return ClassLoss(form, weight * alpha, weight * (1 - alpha), gamma, -math.log(PROB_EPS))


def bce_loss(form: str, weight: float = 1.0) -> ClassLoss:
    """Create the binary cross entropy; see :func:`focal_loss`."""
    return ClassLoss(form, weight, weight, 0.0, MAX_ENTROPY)


def iou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute -log IoU, finite where the IoU is 0 (LLA); boxes as in :func:`pair_iou`."""
    inter, union = pair_inter_and_union(boxes1, boxes2)
    return union.div_(inter).clamp_(min=1, max=1 / IOU_EPS).log_()


def iou_plus_eps_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute -log(IoU + 1e-7), at least 0 (mmdet's SimOTAAssigner); boxes as in `pair_iou`."""
    return pair_iou(boxes1, boxes2).add_(SIMOTA_EPS).log_().neg_().clamp_(min=0)


def giou_cost(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute 1 - GIoU, in [0, 2] (Rezatofighi et al. 2019); boxes as in :func:`pair_iou`."""
    boxes1, boxes2 = align_dims(boxes1, boxes2), align_dims(boxes2, boxes1)
    sides = torch.maximum(boxes1[2:4], boxes2[2:4]).sub_(torch.minimum(boxes1[:2], boxes2[:2]))
    # The hull of two boxes of no area is no smaller than their union.
    hull = sides.clamp_(min=0)[0].mul_(sides[1]).clamp_(min=2 * AREA_EPS)
    inter, union = pair_inter_and_union(boxes1, boxes2)
    empty = 1 - union / hull
    return empty.add_(1).sub_(inter.div_(union)).clamp_(min=0, max=2)


#: Box losses, each with its upper bound.
REG_COSTS = dict(
    iou=(iou_cost, 16.0), iou_plus_eps=(iou_plus_eps_cost, 16.2), giou=(giou_cost, 2.0)
)


class PairCosts(NamedTuple):
    """Costs between the gts and the priors of a batch.

    The gts are one list; the index of a prior in the batch is ``img * num_priors + prior``. Costs
    are float32 and at least 0.

    Attributes:
        preds, gts (Tensor): Predicted boxes and gts, see :func:`with_area`, shapes
            (5, num_imgs * num_priors) and (5, num_gts).
        scores (Tensor): Of the priors, shape (num_imgs, num_priors, num_classes).
        base (Tensor): :func:`base_cost` of the priors, shape (num_imgs * num_priors,).
        gt_labels (Tensor): int64, shape (num_gts,); unused if there is one class.
        class_loss (ClassLoss): The class loss, including its weight.
        reg_cost (Callable): The box cost.
        reg_weight (float): Its weight.
        rule (CandidateRule): Which pairs pay no penalty.
        penalty (float): What the other pairs pay.
    """

    preds: Tensor
    gts: Tensor
    scores: Tensor
    base: Tensor
    gt_labels: Tensor
    class_loss: ClassLoss
    reg_cost: Callable[[Tensor, Tensor], Tensor]
    reg_weight: float
    rule: CandidateRule
    penalty: float

    def compute_pair_costs(self, gt: Tensor, prior: Tensor) -> Tensor:
        """Compute the costs of pairs, without penalties.

        Args:
            gt, prior (Tensor): gt and prior (in the batch) of each pair, int64, (num_pairs,).

        Returns:
            Tensor: Shape (num_pairs,).
        """
        cls = self.base.index_select(0, prior)
        num_classes = self.scores.size(2)
        if num_classes > 1:
            index = torch.add(self.gt_labels.index_select(0, gt), prior, alpha=num_classes)
            cls = self.class_loss.of_class(cls, self.scores.flatten().index_select(0, index))
        preds, gts = self.preds.index_select(1, prior), self.gts.index_select(1, gt)
        return torch.add(cls, self.reg_cost(preds, gts), alpha=self.reg_weight)

    def compute_penalties(self, gt: Tensor, prior: Tensor) -> float | Tensor:
        """Compute the penalties of pairs; see :meth:`compute_pair_costs`."""
        outside = self.rule.find_outside(self.gts.index_select(1, gt), prior)
        return 0.0 if outside is None else outside * self.penalty

    def compute_table(self, gt: Tensor, img_inds: Tensor, prior: Tensor | None = None) -> Tensor:
        """Compute the costs between gts and many priors of their images, including penalties.

        Args:
            gt, img_inds (Tensor): Some gts and their images, int64, shape (n,).
            prior (Tensor, optional): Index in the batch of the priors compared with each gt, int64,
                shape (n, m), or (1, m) for the same of all. Defaults to all of its image,
                m = num_priors.

        Returns:
            Tensor: Shape (n, m).
        """
        cls = self._select_rows(self.base[None], img_inds, prior)[0]
        if self.scores.size(2) > 1:
            labels = self.gt_labels.index_select(0, gt)
            if prior is None:
                scores = self.scores.transpose(1, 2)[img_inds, labels]
            else:
                scores = self.scores.flatten(0, 1)[prior, labels.unsqueeze(1)]
            cls = self.class_loss.of_class(cls, scores)
        gts = self.gts.index_select(1, gt).unsqueeze(-1)
        reg = self.reg_cost(self.select_preds(img_inds, prior), gts)
        cost = torch.add(cls, reg, alpha=self.reg_weight)
        outside = self.rule.find_outside(gts, prior)
        return cost if outside is None else cost.add_(outside, alpha=self.penalty)

    def select_preds(self, img_inds: Tensor, prior: Tensor | None) -> Tensor:
        """Select the predicted boxes compared with gts, (5, n or 1, m); see `compute_table`."""
        return self._select_rows(self.preds, img_inds, prior)

    def _select_rows(self, values: Tensor, img_inds: Tensor, prior: Tensor | None) -> Tensor:
        """Select from (k, num_imgs * num_priors) what gts are compared with, (k, n or 1, m)."""
        if prior is not None:
            return values.index_select(1, prior.flatten()).unflatten(1, prior.shape)
        values = values.unflatten(1, self.scores.shape[:2])
        # All gts of a single image are compared with the same priors.
        return values if len(self.scores) == 1 else values.index_select(1, img_inds)


def base_cost(scores: Tensor, class_loss: ClassLoss) -> Tensor:
    """Compute the part of the class loss that does not depend on the gt's class.

    Args:
        scores (Tensor): Shape (num_imgs, num_priors, num_classes).
        class_loss (ClassLoss): The class loss.

    Returns:
        Tensor: Shape (num_imgs * num_priors,).
    """
    if scores.size(2) == 1:
        return class_loss.positive(scores.flatten())
    return class_loss.background(scores.flatten(0, 1))
