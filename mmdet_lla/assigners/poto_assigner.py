"""POTOAssigner: POTO's knobs and mmdet's contract around the pure functions beside it."""

from typing import Any

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import TABLE_CHUNK, inside_rectangles, is_inside
from .costs import pair_iou, with_area
from .one_to_one import force_rest, match_argmax, match_best, pair_quality, pick_auxiliary
from .pairs import GridMemory, count_inside, highest, list_near
from .predictions import (
    PictureBoxes,
    Predictions,
    as_result,
    boxes_of_picture,
    find_faults,
    read_predictions,
    to_host_if_sound,
)
from .settings import PRIOR_FORMS, SCORE_FORMS, check_settings, is_count

MATCHINGS = ('optimal', 'argmax')
ONE_TO_MANY = (None, 'aux')


@TASK_UTILS.register_module()
class POTOAssigner(BaseAssigner):
    r"""Prediction-aware one-to-one assignment (`POTO <https://arxiv.org/abs/2012.03544>`_).

    The rule of the released code (Megvii-BaseDetection/DeFCN). The quality of a pair is
    ``score^(1 - alpha) * IoU^alpha``, with the prior's probability of the box's class and the IoU
    of its prediction and the box. Candidates are priors inside the box, and, with
    ``center_radius``, less than that many strides from its centre in x and y. Every box gets one
    prior and no prior serves two, so that the sum of qualities is the largest there is. A
    detector trained so needs no NMS.

    A box whose candidates all went to others, or that has none, still gets a prior and trains on
    it: the free one of the highest quality, of equal ones the nearest to its centre, boxes taking
    turns in their order. (In the released code it is whatever the solver comes upon.) If there
    are more boxes than priors, some get none. Ignore boxes are left out: nothing becomes of them.

    Args:
        alpha (float): Weight of the IoU in the quality, from 0 to 1. Defaults to 0.8.
        center_radius (float): How far from a box's centre its candidates may lie, in strides; 0:
            anywhere inside, as the paper has it for crowds (for COCO 1.5). Defaults to 0.
        one_to_many (str, optional): 'aux': decide by the rule of the auxiliary loss instead, by
            which boxes share out several priors each: of a box's ``aux_topk`` best priors a
            level, those inside it whose quality is at least the mean plus the standard deviation
            of all of them; a prior of several boxes goes to the highest quality. Defaults to None,
            one to one.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 2), or (n, 4) with
            strides; 'boxes': anchor boxes (n, 4) of 8 strides, whose centre counts; 'auto': points
            if (n, 2), anchor boxes if (n, 4). Strides are needed with ``center_radius``. Defaults
            to 'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'probs'.
        matching (str): 'optimal': see above; 'argmax': every box its best candidate, and of boxes
            that want the same one only that of the highest quality gets it, the others none.
            Defaults to 'optimal'.
        aux_topk (int): See ``one_to_many``. Defaults to 9.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        center_radius: float = 0,
        one_to_many: str | None = None,
        prior_form: str = 'auto',
        score_form: str = 'probs',
        *,
        matching: str = 'optimal',
        aux_topk: int = 9,
    ) -> None:
        self.alpha = alpha
        self.center_radius = center_radius
        self.one_to_many = one_to_many
        self.prior_form = prior_form
        self.score_form = score_form
        self.matching = matching
        self.aux_topk = aux_topk
        checks = dict(
            alpha=(0 <= alpha <= 1, 'in [0, 1]'),
            center_radius=(0 <= center_radius < float('inf'), 'finite and >= 0'),
            aux_topk=(is_count(aux_topk), 'an int >= 1'),
        )
        for name, allowed in dict(
            one_to_many=ONE_TO_MANY,
            prior_form=PRIOR_FORMS,
            score_form=SCORE_FORMS,
            matching=MATCHINGS,
        ).items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        check_settings(type(self).__name__, checks, vars(self))
        self._memory = GridMemory()

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        num_level_priors: list[int] | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign each prior of a picture to a box or to the background.

        Args:
            pred_instances (:obj:`InstanceData`): ``priors`` (n, 2) or (n, 4), see ``prior_form``;
                ``bboxes`` (n, 4), the decoded predictions ``x1 y1 x2 y2``; ``scores`` (n, C), see
                ``score_form``. Pixels of the network's input.
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): Not looked at.
            num_level_priors (list[int], optional): Priors a level, which the auxiliary rule needs.
                Defaults to None.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (n,): 1-based index into ``gt_instances``, 0 for
            background; ``max_overlaps`` (n,): IoU of the prediction and the box it went to, 0 on
            background; ``labels`` (n,): the box's class, -1 on background.

        Raises:
            ValueError: If predictions are missing, of another form or not finite, a box is
                inverted, a label is out of range, or ``num_level_priors`` is missing or does not
                sum to n. The message names the field, what was found and what was expected.
        """
        who = type(self).__name__
        predictions = read_predictions(
            who, pred_instances, self.prior_form, needs_strides=self.center_radius > 0
        )
        num_priors = len(predictions.points)
        level_sizes = self._check_levels(num_level_priors, num_priors) if self.one_to_many else []
        boxes = boxes_of_picture(who, gt_instances, None, predictions.points.device)
        with torch.autocast(predictions.points.device.type, enabled=False):
            owner, preds, true = None, with_area(predictions.bboxes), with_area(boxes.bboxes)
            if len(boxes.bboxes) and num_priors:
                probs = predictions.scores
                if self.score_form == 'logits':
                    probs = probs.sigmoid()
                quality = _Quality(probs, preds, true, boxes.labels, self.alpha)
                if self.one_to_many:
                    owner = self._share(predictions, boxes, quality, level_sizes)
                else:
                    owner = self._match(pred_instances, predictions, boxes, quality)
            return as_result(owner, predictions, boxes, preds, true)

    def _check_levels(self, num_level_priors: list[int] | None, num_priors: int) -> list[int]:
        """Priors a level, which are those of all ``num_priors``."""
        if num_level_priors is None or sum(num_level_priors) != num_priors:
            raise ValueError(
                f"{type(self).__name__}: one_to_many='aux' picks level by level, num_level_priors "
                f'must be the priors a level of all {num_priors}, got {num_level_priors}'
            )
        return num_level_priors

    def _match(
        self,
        pred_instances: InstanceData,
        predictions: Predictions,
        boxes: PictureBoxes,
        quality: '_Quality',
    ) -> Tensor:
        """Index of the box each prior went to, -1 for the background, int64, (num_priors,)."""
        num_boxes, num_priors = len(boxes.bboxes), len(predictions.points)
        points, reach = predictions.points.T, None
        if self.center_radius:
            reach = predictions.reach(self.center_radius)
        grids = self._memory.grids_of(pred_instances.priors, predictions.points)
        rectangles = inside_rectangles(boxes.bboxes.T, grids, margin=0.0)
        (counts,) = self._to_host(predictions, boxes, count_inside(rectangles))
        box, prior = list_near(quality.true, points, reach, rectangles, counts)
        of_pairs = quality.of_pairs(box, prior)
        if self.matching == 'argmax':
            chosen = match_argmax(box, prior, of_pairs, num_boxes, num_priors)
        else:
            centres = (quality.true[:2] + quality.true[2:4]) / 2
            chosen = match_best(box, prior, of_pairs, num_boxes)
            chosen = force_rest(chosen, points, centres, quality.of_box, num_priors)
        owner = torch.full_like(predictions.points[:, 0], -1, dtype=torch.long)
        served = (chosen >= 0).nonzero().squeeze(1)
        owner[chosen[served]] = served
        return owner

    def _share(
        self,
        predictions: Predictions,
        boxes: PictureBoxes,
        quality: '_Quality',
        level_sizes: list[int],
    ) -> Tensor:
        """The same by the auxiliary rule."""
        self._to_host(predictions, boxes)
        num_boxes, num_priors = len(boxes.bboxes), len(predictions.points)
        found = []
        for part in torch.arange(num_boxes, device=predictions.points.device).split(
            max(TABLE_CHUNK // num_priors, 1)
        ):
            inside = is_inside(
                quality.true.index_select(1, part).unsqueeze(-1), predictions.points.T, 0.0
            )
            box, prior, value = pick_auxiliary(
                quality.of_table(part), inside, level_sizes, self.aux_topk
            )
            found.append((part[box], prior, value))
        box, prior, value = (torch.cat(parts) for parts in zip(*found, strict=True))
        return highest(prior, value, box, num_priors, num_boxes)

    def _to_host(
        self, predictions: Predictions, boxes: PictureBoxes, *others: Tensor
    ) -> list[np.ndarray]:
        faults = find_faults(predictions, boxes, self.score_form)
        return to_host_if_sound(type(self).__name__, faults, boxes, *others)


class _Quality:
    """Qualities of pairs of a picture.

    Args:
        probs (Tensor): Probabilities, (num_priors, num_classes).
        preds, true (Tensor): Predicted and true boxes, see :func:`with_area`.
        labels (Tensor): Classes of the true boxes, int64.
        alpha (float): Weight of the IoU.
    """

    def __init__(
        self, probs: Tensor, preds: Tensor, true: Tensor, labels: Tensor, alpha: float
    ) -> None:
        self.probs, self.preds, self.true, self.alpha = probs, preds, true, alpha
        self.classes = labels.clamp(min=0, max=probs.size(1) - 1)

    def of_pairs(self, box: Tensor, prior: Tensor) -> Tensor:
        """Of pairs, (num_pairs,)."""
        overlaps = pair_iou(self.preds.index_select(1, prior), self.true.index_select(1, box))
        return pair_quality(self.probs[prior, self.classes[box]], overlaps, self.alpha)

    def of_table(self, box: Tensor) -> Tensor:
        """Of boxes with all priors, (num_boxes, num_priors)."""
        overlaps = pair_iou(self.preds, self.true.index_select(1, box).unsqueeze(-1))
        return pair_quality(self.probs.T[self.classes[box]], overlaps, self.alpha)

    def of_box(self, box: int) -> Tensor:
        """Of one box with all priors, (num_priors,)."""
        return self.of_table(self.classes.new_tensor([box])).squeeze(0)
