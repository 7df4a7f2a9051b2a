"""OTAAssigner: OTA's knobs and mmdet's contract around the pure functions beside it."""

from typing import Any

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import TABLE_CHUNK, inside_rectangles
from .costs import focal_loss, iou_cost, pair_iou, with_area
from .ignoring import IGNORE
from .pairs import GridMemory, count_inside, list_near
from .predictions import (
    PictureBoxes,
    Predictions,
    as_result,
    boxes_of_picture,
    find_covered,
    find_faults,
    read_predictions,
    to_host_if_sound,
)
from .settings import PRIOR_FORMS, SCORE_FORMS, check_settings, is_count
from .transport import supply_of, transport

#: Cheapest priors that are looked at first for a box that has no candidate.
LATE_PRIORS = 512


@TASK_UTILS.register_module()
class OTAAssigner(BaseAssigner):
    r"""Optimal transport assignment (`OTA <https://arxiv.org/abs/2103.14259>`_, section 3).

    The released code's rule (Megvii-BaseDetection/OTA). A prior is a box's candidate if it is
    inside the box by more than 0.01 px and less than ``center_radius`` strides, in x and in y,
    from its centre. A pair costs ``cls_weight * focal + reg_weight * (-log IoU)``, and 1e6 more if
    it is no candidate; leaving a prior to the background costs ``cls_weight * focal`` of no class.
    A box supplies K priors, the sum of its ``candidate_topk`` largest IoUs with candidates, rounded
    down, at least 1; the background supplies the rest. ``sinkhorn_iters`` rounds of Sinkhorn's
    algorithm, no more and no fewer, make a plan of transport. Each supplier's part is divided by
    its largest entry, and every prior goes to the supplier with the largest quotient, of equal
    ones to the first box. Four things surprise, and follow the released code: the rounds do not
    converge; a box may get more or fewer than K priors, or none if an earlier one has the same
    best prior; a box without candidates competes for any prior; the assignment weighs -log IoU
    though the head's box loss may be another.

    Only candidate pairs are looked at, with the answer of the full tables, see
    :mod:`mmdet_lla.assigners.transport`. Where the released code fails, this is the answer: if the
    boxes' K add up to more than the priors there are, the background supplies nothing and the boxes
    compete as ever; if there are fewer than ``candidate_topk`` priors, K sums over those there are.

    Args:
        candidate_topk (int): How many IoUs a box's K sums. Defaults to 20.
        center_radius (float): How far from a box's centre its candidates may lie, in strides.
            Defaults to 2.5.
        cls_weight (float): Weight of the class cost. Defaults to 1.0.
        reg_weight (float): Weight of the box cost. Defaults to 1.5.
        sinkhorn_eps (float): Epsilon, the weight of entropy: the larger, the softer the plan.
            Defaults to 0.1.
        sinkhorn_iters (int): Rounds of Sinkhorn's algorithm. Defaults to 50.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 4), points with
            strides ``x y stride_x stride_y``; 'boxes', 'auto': (n, 4), anchor boxes ``x1 y1 x2
            y2`` of 8 strides, whose centre counts and whose stride is an eighth of the root of
            their area (what the authors say of anchors, issue 4 of their repository). Defaults to
            'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'logits'.
        ignore (str): What becomes of ignore boxes, as in :class:`LLAAssigner`. 'compete': they
            take part like any other, as class 0, and the priors they win are marked -1;
            'overlap': priors covered by one for more than ``ignore_iof_thr`` of their area (anchor
            boxes) or lying inside one (points) are marked -1 and demand nothing; 'unused':
            nothing. Defaults to 'compete'.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        candidate_topk: int = 20,
        center_radius: float = 2.5,
        cls_weight: float = 1.0,
        reg_weight: float = 1.5,
        sinkhorn_eps: float = 0.1,
        sinkhorn_iters: int = 50,
        prior_form: str = 'auto',
        score_form: str = 'logits',
        *,
        ignore: str = 'compete',
        ignore_iof_thr: float = 0.5,
    ) -> None:
        self.candidate_topk = candidate_topk
        self.center_radius = center_radius
        self.cls_weight = cls_weight
        self.reg_weight = reg_weight
        self.sinkhorn_eps = sinkhorn_eps
        self.sinkhorn_iters = sinkhorn_iters
        self.prior_form = prior_form
        self.score_form = score_form
        self.ignore = ignore
        self.ignore_iof_thr = ignore_iof_thr
        infinity = float('inf')
        checks = dict(
            center_radius=(0 < center_radius < infinity, 'finite and > 0'),
            sinkhorn_eps=(0 < sinkhorn_eps < infinity, 'finite and > 0'),
            ignore_iof_thr=(0 <= ignore_iof_thr < 1, 'in [0, 1)'),
        )
        for name in ('candidate_topk', 'sinkhorn_iters'):
            checks[name] = (is_count(getattr(self, name)), 'an int >= 1')
        for name in ('cls_weight', 'reg_weight'):
            checks[name] = (0 <= getattr(self, name) < infinity, 'finite and >= 0')
        for name, allowed in dict(
            prior_form=PRIOR_FORMS, score_form=SCORE_FORMS, ignore=IGNORE
        ).items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        check_settings(type(self).__name__, checks, vars(self))
        self._class_loss = focal_loss(0.25, 2.0, score_form, cls_weight)
        self._memory = GridMemory()

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        *args: Any,  # ATSSHead's: it passes level sizes second, and no predictions
        **kwargs: Any,
    ) -> AssignResult:
        """Assign each prior of a picture to a box, to an ignore box or to the background.

        Args:
            pred_instances (:obj:`InstanceData`): ``priors`` (n, 4), see ``prior_form``; ``bboxes``
                (n, 4), the decoded predictions ``x1 y1 x2 y2``; ``scores`` (n, C), see
                ``score_form``. Pixels of the network's input.
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4), see ``ignore``.
                A label below 0, or none, counts as class 0. Defaults to None.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (n,): 1-based index into ``gt_instances``, 0 for
            background, -1 where an ignore box won or took the prior out; ``max_overlaps`` (n,):
            IoU of the prediction and the box it went to, 0 on background; ``labels`` (n,): the
            box's class, -1 elsewhere.

        Raises:
            ValueError: If predictions are missing, of another form or not finite, a box of
                ``gt_instances`` is inverted, or a label is out of range. The message names the
                field, what was found and what was expected.
        """
        who = type(self).__name__
        predictions = read_predictions(who, pred_instances, self.prior_form, needs_strides=True)
        ignored = None
        if gt_instances_ignore is not None and len(gt_instances_ignore):
            ignored = gt_instances_ignore
        competing = ignored if self.ignore == 'compete' else None
        boxes = boxes_of_picture(who, gt_instances, competing, predictions.points.device)
        # Costs are float32 whatever the precision of the network.
        with torch.autocast(predictions.points.device.type, enabled=False):
            covered = None
            if self.ignore == 'overlap' and ignored is not None:
                covered = find_covered(who, predictions, ignored, self.ignore_iof_thr)
            owner, preds, true = None, with_area(predictions.bboxes), with_area(boxes.bboxes)
            if len(boxes.bboxes) and len(predictions.points):
                owner = self._match(pred_instances, predictions, boxes, preds, true, covered)
            result = as_result(owner, predictions, boxes, preds, true)
        if covered is not None:
            result.gt_inds = torch.where(covered, -1, result.gt_inds)
        return result

    def _match(
        self,
        pred_instances: InstanceData,
        predictions: Predictions,
        boxes: PictureBoxes,
        preds: Tensor,
        true: Tensor,
        covered: Tensor | None,
    ) -> Tensor:
        """Index of the box each prior went to, -1 for the background, int64, (num_priors,).

        Predicted and true boxes are (5, n), see :func:`with_area`; covered priors go to no box.
        """
        num_boxes, num_priors = len(boxes.bboxes), len(predictions.points)
        points, reach = predictions.points.T, predictions.reach(self.center_radius)
        grids = self._memory.grids_of(pred_instances.priors, predictions.points)
        rectangles = inside_rectangles(boxes.bboxes.T, grids)
        faults = find_faults(predictions, boxes, self.score_form)
        free = None if covered is None else ~covered
        counts, count = to_host_if_sound(
            type(self).__name__,
            faults,
            boxes,
            count_inside(rectangles),
            boxes.labels.new_tensor(num_priors) if free is None else free.sum(),
        )
        num_free = int(count)
        if not num_free:
            return boxes.labels.new_full((num_priors,), -1)
        box, prior = list_near(true, points, reach, rectangles, counts, free)
        overlaps = pair_iou(preds.index_select(1, prior), true.index_select(1, box))
        supply = supply_of(overlaps, box, num_boxes, self.candidate_topk)
        classes = boxes.labels.clamp(min=0, max=predictions.scores.size(1) - 1)
        flat = predictions.scores.reshape(-1)
        gain = self._gain(
            preds.index_select(1, prior),
            true.index_select(1, box),
            flat[prior * predictions.scores.size(1) + classes[box]],
        )
        late = torch.bincount(box, minlength=num_boxes) == 0
        if not late.any():
            return transport(
                box, prior, gain, supply, late, num_priors, num_free, self.sinkhorn_iters
            ).owner
        late_boxes = late.nonzero().squeeze(1)
        most = min(LATE_PRIORS, num_free)
        while True:
            gains, priors, left_out = self._best_anywhere(
                late_boxes, preds, true, predictions.scores, classes, free, most
            )
            plan = transport(
                torch.cat([box, late_boxes.repeat_interleave(gains.size(1))]),
                torch.cat([prior, priors.flatten()]),
                torch.cat([gain, gains.flatten()]),
                supply,
                late,
                num_priors,
                num_free,
                self.sinkhorn_iters,
                torch.full_like(supply, -torch.inf, dtype=torch.float64).index_put_(
                    (late_boxes,), left_out
                ),
            )
            if most == num_free or plan.complete:
                return plan.owner
            most = num_free

    def _gain(self, preds: Tensor, true: Tensor, scores: Tensor) -> Tensor:
        """What pairs cost less than leaving their priors to the background, over epsilon."""
        cost = iou_cost(preds, true).mul_(self.reg_weight)
        cls = self._class_loss.of_present(scores).sub_(self._class_loss.of_absent(scores))
        return cost.add_(cls).double().div_(-self.sinkhorn_eps)

    def _best_anywhere(
        self,
        late: Tensor,
        preds: Tensor,
        true: Tensor,
        scores: Tensor,
        classes: Tensor,
        free: Tensor | None,
        most: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The free priors of the largest gain for boxes that may take any.

        Returns:
            tuple[Tensor]: Gains and priors, (num_late, most), and the logarithm of the most that
            those left out may add to the sum of exp(gain), (num_late,).
        """
        num_priors = preds.size(1)
        found = []
        for part in late.split(max(TABLE_CHUNK // num_priors, 1)):
            gain = self._gain(
                preds, true.index_select(1, part).unsqueeze(-1), scores.T[classes[part]]
            )
            if free is not None:
                gain.masked_fill_(~free, -torch.inf)
            found.append(gain.topk(most, dim=1))
        values, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
        rest = num_priors - most
        left_out = values[:, -1] + (np.log(rest) if rest else -torch.inf)
        return values, indices, left_out
