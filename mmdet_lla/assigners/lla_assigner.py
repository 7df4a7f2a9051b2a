"""LLAAssigner: LLA's knobs and mmdet's contract around the pure functions beside it."""

from functools import partial
from typing import Optional, Union

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import (
    PriorGrids,
    find_grids,
    in_any,
    inside_rectangles,
    is_covered,
    is_inside,
    is_near_centre,
)
from .costs import (
    REG_COSTS,
    PairCosts,
    absent_cost,
    bce_loss,
    focal_loss,
    is_inverted,
    pair_iou,
    with_area,
)
from .matching import OUTSIDE_PENALTY, dynamic_topk, match

CHOICES = dict(
    prior_form=('auto', 'points', 'boxes'),
    score_form=('logits', 'probs'),
    candidates=('inside', 'center', 'all'),
    contested=('all', 'picked'),
    ties=('lower', 'topk'),
    cls_cost=('focal', 'bce'),
    reg_cost=tuple(REG_COSTS),
    ignore=('compete', 'overlap', 'unused'),
)

#: What is wrong with true boxes that are inverted.
INVERTED_BOX = (
    'gt_instances.bboxes holds a box with x2 < x1 or y2 < y1, expected x1 y1 x2 y2 in '
    "pixels of the network's input"
)

#: What is wrong with true or ignore boxes that are not finite.
NOT_FINITE_BOX = (
    'gt_instances.bboxes or gt_instances_ignore.bboxes holds NaN or infinite values, '
    'expected finite x1 y1 x2 y2 in pixels'
)

#: A larger penalty would leave float32 too few digits to tell pairs outside apart.
MAX_PENALTY = 1e6


@TASK_UTILS.register_module()
class LLAAssigner(BaseAssigner):
    r"""Loss-aware label assignment (`LLA <https://arxiv.org/abs/2101.04307>`_, section 3).

    A box and a prior cost each other ``cls_weight * focal + reg_weight * (-log IoU)``, and 1000
    more where the prior's centre is not inside the box by 0.01 px. Every box picks its ``topk``
    cheapest priors; a prior picked by several goes to the cheapest of all boxes; the rest is
    background. Three things surprise, and follow the released code: a box with fewer than
    ``topk`` priors inside picks outside ones too; a contested prior may go to a box that did not
    pick it; ignore boxes compete like any other, and the priors they win are marked -1.

    The first seven arguments are LLA's. Those after them turn its steps one by one into other
    rules, up to SimOTA's (`YOLOX <https://arxiv.org/abs/2107.08430>`_); their defaults are LLA's,
    and so is the speed. :meth:`simota` has all of SimOTA's.

    Args:
        topk (int | str): K, the number of priors a box picks; 'dynamic': the sum of the box's
            ``candidate_topk`` largest IoUs with predictions, rounded down, at least 1. Defaults
            to 10.
        cls_weight (float): Weight of the class cost. Defaults to 1.0.
        reg_weight (float): Weight of the box cost. Defaults to 1.5.
        focal_alpha (float): Alpha of the focal loss. Defaults to 0.25.
        focal_gamma (float): Gamma of the focal loss. Defaults to 2.0.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 2), or (n, 4) as
            points with strides ``x y s s``; 'boxes': (n, 4) anchor boxes ``x1 y1 x2 y2``, whose
            centre counts; 'auto': points if (n, 2), anchor boxes if (n, 4). Defaults to 'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'logits'.
        candidates (str): Which pairs go without penalty. 'inside': the prior is inside the box;
            'center', as in SimOTA: it is inside, by any margin, and in x and y less than
            ``center_radius`` strides from the box's centre (this needs points with strides), and
            priors that are neither inside nor near the centre of any box are background from the
            start; 'all': every pair. Defaults to 'inside'.
        center_radius (float): See ``candidates``, in strides. Defaults to 2.5.
        candidate_topk (int): See ``topk``. Defaults to 10.
        contested (str): Whether a prior picked by several boxes goes to the cheapest of 'all'
            boxes or of those that 'picked' it. Defaults to 'all'.
        ties (str): Of equally cheap priors a box picks the one of 'lower' index, or the one that
            ``torch.topk`` takes ('topk', as in SimOTA). Contested priors go to the box of lower
            index in any case. Defaults to 'lower'.
        cls_cost (str): Class cost, summed over the classes: 'focal' loss, or 'bce', binary cross
            entropy. Defaults to 'focal'.
        reg_cost (str): Box cost: 'iou': -log IoU, of an IoU of at least 1.2e-7; 'iou_plus_eps':
            -log(IoU + 1e-7), SimOTA's; 'giou': 1 - GIoU. Defaults to 'iou'.
        ignore (str): What becomes of ignore boxes. 'compete': see above; 'overlap': priors covered
            by one for more than ``ignore_iof_thr`` of their area (anchor boxes) or lying inside
            one (points) are marked -1 and go to no box; 'unused': nothing. Defaults to 'compete'.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.
        outside_penalty (float): What pairs other than ``candidates`` pay, up to 1e6. The larger,
            the fewer digits of float32 are left to tell them apart. Defaults to 1000.

    Raises:
        ValueError: If an argument is out of its range, or two do not go together.
    """

    def __init__(
        self,
        topk: Union[int, str] = 10,
        cls_weight: float = 1.0,
        reg_weight: float = 1.5,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        prior_form: str = 'auto',
        score_form: str = 'logits',
        *,
        candidates: str = 'inside',
        center_radius: float = 2.5,
        candidate_topk: int = 10,
        contested: str = 'all',
        ties: str = 'lower',
        cls_cost: str = 'focal',
        reg_cost: str = 'iou',
        ignore: str = 'compete',
        ignore_iof_thr: float = 0.5,
        outside_penalty: float = OUTSIDE_PENALTY,
    ) -> None:
        self.topk = topk
        self.cls_weight = cls_weight
        self.reg_weight = reg_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.prior_form = prior_form
        self.score_form = score_form
        self.candidates = candidates
        self.center_radius = center_radius
        self.candidate_topk = candidate_topk
        self.contested = contested
        self.ties = ties
        self.cls_cost = cls_cost
        self.reg_cost = reg_cost
        self.ignore = ignore
        self.ignore_iof_thr = ignore_iof_thr
        self.outside_penalty = outside_penalty
        self._check_arguments()
        self._class_loss = (
            partial(focal_loss, alpha=focal_alpha, gamma=focal_gamma, form=score_form)
            if cls_cost == 'focal'
            else partial(bce_loss, form=score_form)
        )
        self._grids_of: tuple[Optional[Tensor], Optional[PriorGrids]] = (None, None)

    def _check_arguments(self) -> None:
        infinity = float('inf')
        checks = dict(
            topk=(self.topk == 'dynamic' or _is_count(self.topk), "an int >= 1 or 'dynamic'"),
            candidate_topk=(_is_count(self.candidate_topk), 'an int >= 1'),
            focal_alpha=(0 <= self.focal_alpha <= 1, 'in [0, 1]'),
            center_radius=(0 < self.center_radius < infinity, 'finite and > 0'),
            ignore_iof_thr=(0 <= self.ignore_iof_thr < 1, 'in [0, 1)'),
            outside_penalty=(0 <= self.outside_penalty <= MAX_PENALTY, f'in [0, {MAX_PENALTY:g}]'),
        )
        for name in ('cls_weight', 'reg_weight', 'focal_gamma'):
            checks[name] = (0 <= getattr(self, name) < infinity, 'finite and >= 0')
        for name, allowed in CHOICES.items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        for name, (fits, expected) in checks.items():
            if not fits:
                raise ValueError(
                    f'LLAAssigner: {name} must be {expected}, got {getattr(self, name)!r}'
                )
        if self.candidates == 'center' and self.prior_form != 'points':
            raise ValueError(
                f"LLAAssigner: candidates='center' needs points with strides, expected "
                f"prior_form='points', got {self.prior_form!r}"
            )

    @classmethod
    def simota(
        cls,
        center_radius: float = 2.5,
        candidate_topk: int = 10,
        iou_weight: float = 3.0,
        cls_weight: float = 1.0,
    ) -> 'LLAAssigner':
        """The assigner that decides as mmdet's ``SimOTAAssigner`` of the same arguments.

        It too wants points with strides and probabilities. ``max_overlaps`` of background priors
        is 0, not -1e5.
        """
        return cls(
            'dynamic',
            cls_weight,
            iou_weight,
            prior_form='points',
            score_form='probs',
            candidates='center',
            center_radius=center_radius,
            candidate_topk=candidate_topk,
            ties='topk',
            cls_cost='bce',
            reg_cost='iou_plus_eps',
            ignore='unused',
            outside_penalty=1e5,
        )

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: Optional[InstanceData] = None,
        *args,  # ATSSHead's: it passes level sizes second, and no predictions
        **kwargs,
    ) -> AssignResult:
        """Assign each prior of a picture to a box, to an ignore box or to the background.

        Args:
            pred_instances (:obj:`InstanceData`): ``priors`` (n, 2) or (n, 4), see ``prior_form``;
                ``bboxes`` (n, 4), the decoded predictions ``x1 y1 x2 y2``; ``scores`` (n, C), see
                ``score_form``. Pixels of the network's input.
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4), see ``ignore``.
                A label below 0, or none, counts as class 0, as in the reference. Defaults to None.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (n,): 1-based index into ``gt_instances``, 0 for
            background, -1 where an ignore box won or took the prior out; ``max_overlaps`` (n,):
            IoU of the prediction and the box it went to, 0 on background; ``labels`` (n,): the
            box's class, -1 elsewhere.

        Raises:
            ValueError: If predictions are missing, of an unknown form or not finite, a box of
                ``gt_instances`` is inverted, or a label is out of range. The message names the
                field, what was found and what was expected. Boxes of no area are boxes; an
                inverted ignore box is one of no area, no loss ever sees it.
        """
        points, bboxes, scores = self._read_predictions(pred_instances)
        ignored = gt_instances_ignore if self.ignore == 'compete' else None
        boxes, labels, num_gts = _read_boxes(gt_instances, ignored, points)
        num_priors = len(points)
        gt_inds = labels.new_zeros(num_priors)
        max_overlaps = bboxes.new_zeros(num_priors)
        assigned_labels = labels.new_full((num_priors,), -1)
        # Costs are float32 whatever the precision of the network.
        with torch.autocast(points.device.type, enabled=False):
            covered = self._covered(pred_instances, points, gt_instances_ignore)
            if len(boxes) and num_priors:
                columns, gt_columns = with_area(bboxes), with_area(boxes)
                owner = self._match(
                    pred_instances, points, columns, scores, gt_columns, labels, num_gts, covered
                )
                won, box = owner >= 0, owner.clamp(min=0)
                max_overlaps = pair_iou(columns, gt_columns.index_select(1, box)) * won
                positive = won & (box < num_gts)
                gt_inds = torch.where(positive, box + 1, -won.long())
                assigned_labels = torch.where(positive, labels[box], -1)
        if covered is not None:
            gt_inds = torch.where(covered, -1, gt_inds)
        return AssignResult(num_gts, gt_inds, max_overlaps, labels=assigned_labels)

    def _match(
        self,
        pred_instances: InstanceData,
        points: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        boxes: Tensor,
        labels: Tensor,
        num_gts: int,
        barred: Optional[Tensor],
    ) -> Tensor:
        """Index of the box each prior went to, -1 for the background, shape (num_priors,).

        Predicted and true boxes are (5, n), see :func:`with_area`; barred priors go to no box.
        """
        num_boxes, num_priors = boxes.size(1), len(points)
        absent = absent_cost(scores, self._class_loss)
        reg_cost, most_reg = REG_COSTS[self.reg_cost]
        rectangles = inside_rectangles(boxes[:4].T, self._grids(pred_instances.priors, points))
        # The most that a pair can cost: calling a class present costs more the lower its score.
        most = (
            self.cls_weight * (absent.amax() + self._class_loss(scores.amin(), True))
            + self.reg_weight * most_reg
        )
        faults = self._faults(pred_instances, bboxes, scores, most, boxes, labels, num_gts)
        # The one place where the host waits for the device, unless knobs are turned: sizes and
        # checks in one transfer.
        *sizes, exhaustive, faulty = torch.cat(
            [
                rectangles.rows.sum(1),
                (rectangles.rows * rectangles.cols).sum(1),
                torch.stack(
                    [most >= self.outside_penalty, torch.stack(list(faults.values())).any()]
                ),
            ]
        ).tolist()
        if faulty:
            text = next(text for text, bad in faults.items() if bad)
            if text == INVERTED_BOX:
                text = describe_inverted(boxes[:4, :num_gts].T)
            raise ValueError(f'LLAAssigner: {text}')

        points, reach, free = points.T, None, None
        if self.candidates == 'center':
            reach = get_box_tensor(pred_instances.priors)[:, 2:].float().T * self.center_radius
            far = ~in_any(boxes, points, reach)
            barred = far if barred is None else far | barred
        if barred is not None:
            free = (~barred).nonzero().squeeze(1)
            if not len(free):
                return labels.new_full((num_priors,), -1)
        if self.topk == 'dynamic':
            topk = dynamic_topk(
                bboxes if free is None else bboxes.index_select(1, free), boxes, self.candidate_topk
            )
        else:
            topk = np.full(num_boxes, self.topk)
        topk = topk.clip(max=num_priors if free is None else len(free))
        costs = PairCosts(
            bboxes,
            boxes,
            scores,
            absent,
            labels.clamp(min=0, max=scores.size(1) - 1),
            self._class_loss,
            reg_cost,
            self.cls_weight,
            self.reg_weight,
        )

        def table_cost(box: Tensor, prior: Optional[Tensor]) -> Tensor:
            cost = costs.of_table(box, prior)
            if self.candidates == 'all':
                return cost
            true = boxes.index_select(1, box).unsqueeze(-1)
            at, near = (
                part if part is None or prior is None else part.index_select(1, prior)
                for part in (points, reach)
            )
            if self.candidates == 'inside':
                competes = is_inside(true, at)
            else:
                competes = is_inside(true, at, 0.0) & is_near_centre(true, at, near)
            return cost.add_(~competes, alpha=self.outside_penalty)

        exhaustive = (
            bool(exhaustive)
            or self.candidates != 'inside'
            or free is not None
            or self.ties == 'topk'
        )
        return match(
            rectangles,
            sizes[:num_boxes],
            sizes[num_boxes:],
            num_priors,
            topk,
            costs.of_pairs,
            table_cost,
            exhaustive,
            free,
            self.contested,
            self.ties,
        )

    def _covered(
        self,
        pred_instances: InstanceData,
        points: Tensor,
        gt_instances_ignore: Optional[InstanceData],
    ) -> Optional[Tensor]:
        """Which priors ignore boxes take out, bool (num_priors,); None if there can be none."""
        if self.ignore != 'overlap' or gt_instances_ignore is None or not len(gt_instances_ignore):
            return None
        ignored = get_box_tensor(gt_instances_ignore.bboxes).float()
        if not _all_finite(ignored):
            raise ValueError(
                'LLAAssigner: gt_instances_ignore.bboxes holds NaN or infinite '
                'values, expected finite x1 y1 x2 y2 in pixels'
            )
        priors = get_box_tensor(pred_instances.priors)
        return is_covered(
            points if self._holds_points(priors) else priors.float(), ignored, self.ignore_iof_thr
        )

    def _grids(self, priors: Tensor, points: Tensor) -> PriorGrids:
        """Grids of the priors, found once for a tensor that is handed over again and again."""
        priors = get_box_tensor(priors)
        if self._grids_of[0] is not priors:
            self._grids_of = (priors, find_grids(points))
        return self._grids_of[1]

    def _read_predictions(self, pred_instances: InstanceData) -> tuple[Tensor, Tensor, Tensor]:
        """Centres (n, 2), predicted boxes (n, 4) and scores (n, C) in float32, shapes checked."""
        missing = [name for name in ('priors', 'bboxes', 'scores') if name not in pred_instances]
        if missing:
            raise ValueError(
                f'LLAAssigner: pred_instances has no {", ".join(missing)}. It weighs predictions, '
                'so the head must hand over priors, decoded bboxes and scores, as LLAHead, YOLOX, '
                'RTMDet and TOOD do; RetinaHead, FCOSHead and ATSSHead hand over priors only: use '
                "type='LLAHead' for the head."
            )
        priors, bboxes = (get_box_tensor(pred_instances[k]) for k in ('priors', 'bboxes'))
        scores = pred_instances.scores
        widths = dict(points=(2, 4), boxes=(4,), auto=(2, 4))[self.prior_form]
        if self.candidates == 'center':
            widths = (4,)
        if priors.dim() != 2 or priors.size(1) not in widths:
            raise ValueError(
                f'LLAAssigner: pred_instances.priors has shape {tuple(priors.shape)}; with '
                f'prior_form={self.prior_form!r} and candidates={self.candidates!r} expected '
                f'{" or ".join(f"(n, {width})" for width in widths)}'
            )
        num_priors = len(priors)
        if bboxes.shape != (num_priors, 4):
            raise ValueError(
                f'LLAAssigner: pred_instances.bboxes has shape {tuple(bboxes.shape)}, '
                f'expected ({num_priors}, 4), one decoded box a prior'
            )
        if scores.dim() != 2 or len(scores) != num_priors or not scores.size(1):
            raise ValueError(
                f'LLAAssigner: pred_instances.scores has shape {tuple(scores.shape)}, '
                f'expected ({num_priors}, num_classes)'
            )
        if self._holds_points(priors):
            points = priors[:, :2]
        else:
            points = (priors[:, :2] + priors[:, 2:]) / 2
        return points.float(), bboxes.float(), scores.float()

    def _holds_points(self, priors: Tensor) -> bool:
        return self.prior_form == 'points' or priors.size(1) == 2

    def _faults(
        self,
        pred_instances: InstanceData,
        bboxes: Tensor,
        scores: Tensor,
        most: Tensor,
        boxes: Tensor,
        labels: Tensor,
        num_gts: int,
    ) -> dict[str, Tensor]:
        """What can be wrong with the values: the message, and a flag that stays on the device."""
        low, high = torch.aminmax(labels[:num_gts]) if num_gts else (labels.new_zeros(()),) * 2
        num_classes = scores.size(1)
        faults = {
            'pred_instances.bboxes holds NaN or infinite values, expected finite decoded boxes '
            'from the head; the training may have diverged': ~_all_finite(bboxes),
            'pred_instances.scores holds NaN or infinite values, expected finite scores from the '
            'head; the training may have diverged': ~(most.isfinite() & scores.amin().isfinite()),
            NOT_FINITE_BOX: ~_all_finite(boxes),
            INVERTED_BOX: is_inverted(boxes[:4, :num_gts].T).any(),
            describe_label_range(num_classes): (low < 0) | (high >= num_classes),
        }
        if self.score_form == 'probs':
            faults[
                "pred_instances.scores holds values outside [0, 1]; score_form='probs' expects "
                "probabilities, use 'logits' for raw scores"
            ] = (scores.amin() < 0) | (scores.amax() > 1)
        priors = get_box_tensor(pred_instances.priors)
        if not self._holds_points(priors):
            faults[
                f'pred_instances.priors holds boxes with x2 < x1 or y2 < y1, so they seem to be '
                f'points with strides; expected anchor boxes with prior_form='
                f"{self.prior_form!r}, use prior_form='points'"
            ] = (priors[:, 2:] < priors[:, :2]).any()
        if self.candidates == 'center':
            faults[
                "pred_instances.priors holds strides that are not > 0; candidates='center' "
                'expects points with strides, x y stride_x stride_y'
            ] = ~(priors[:, 2:] > 0).all()
        return faults


def describe_inverted(boxes: Tensor) -> str:
    """Say which of a picture's true boxes (n, 4) is the first that is inverted, and what to do."""
    return (
        f'{INVERTED_BOX}, got {boxes[is_inverted(boxes)][0].tolist()}; its loss could be '
        'anything. python tools/check_dataset.py finds those of annotations'
    )


def describe_label_range(num_classes: int) -> str:
    """Say what is wrong with labels that the head has no score of."""
    return (
        f'gt_instances.labels holds a value outside 0..{num_classes - 1}; the head scores '
        f'{num_classes} class(es), see num_classes of the head and metainfo of the data set'
    )


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _read_boxes(
    gt_instances: InstanceData, gt_instances_ignore: Optional[InstanceData], points: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Boxes (k + m, 4) and labels (k + m,) of all that compete, and k."""
    for name, instances in dict(
        gt_instances=gt_instances, gt_instances_ignore=gt_instances_ignore or {}
    ).items():
        for field, values in instances.items():
            if field in ('bboxes', 'labels') and values.device != points.device:
                raise ValueError(
                    f'LLAAssigner: {name}.{field} is on {values.device}, '
                    f'pred_instances.priors on {points.device}; expected one device'
                )
    boxes = get_box_tensor(gt_instances.bboxes)
    labels = gt_instances.labels
    num_gts = len(boxes)
    if len(labels) != num_gts:
        raise ValueError(f'LLAAssigner: gt_instances has {num_gts} bboxes but {len(labels)} labels')
    if gt_instances_ignore is not None and len(gt_instances_ignore):
        ignored = get_box_tensor(gt_instances_ignore.bboxes)
        no_labels = labels.new_zeros(len(ignored))
        boxes = torch.cat([boxes, ignored])
        labels = torch.cat([labels, gt_instances_ignore.get('labels', no_labels)])
    return boxes.float(), labels, num_gts


def _all_finite(values: Tensor) -> Tensor:
    """Whether there is neither NaN nor infinity, in one pass."""
    return torch.stack(values.aminmax()).isfinite().all()
