"""LLAAssigner: LLA's knobs and mmdet's contract around the pure functions beside it."""

from typing import Optional

import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import PriorGrids, find_grids, inside_rectangles, is_inside
from .costs import absent_cost, class_cost, focal_loss, iou_cost, pair_iou, with_area
from .matching import OUTSIDE_PENALTY, match

PRIOR_FORMS = ('auto', 'points', 'boxes')
SCORE_FORMS = ('logits', 'probs')


@TASK_UTILS.register_module()
class LLAAssigner(BaseAssigner):
    r"""Loss-aware label assignment (`LLA <https://arxiv.org/abs/2101.04307>`_, section 3).

    A box and a prior cost each other ``cls_weight * focal + reg_weight * (-log IoU)``, and 1000
    more where the prior's centre is not inside the box by 0.01 px. Every box picks its ``topk``
    cheapest priors; a prior picked by several goes to the cheapest of all boxes; the rest is
    background. Three things surprise, and follow the released code: a box with fewer than
    ``topk`` priors inside picks outside ones too; a contested prior may go to a box that did not
    pick it; ignore boxes compete like any other, and the priors they win are marked -1.

    Args:
        topk (int): K, the number of priors a box picks. Defaults to 10.
        cls_weight (float): Weight of the focal loss in the cost. Defaults to 1.0.
        reg_weight (float): Weight of -log IoU in the cost. Defaults to 1.5.
        focal_alpha (float): Alpha of the focal loss. Defaults to 0.25.
        focal_gamma (float): Gamma of the focal loss. Defaults to 2.0.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 2), or (n, 4) as
            points with strides ``x y s s``; 'boxes': (n, 4) anchor boxes ``x1 y1 x2 y2``, whose
            centre counts; 'auto': points if (n, 2), anchor boxes if (n, 4). Defaults to 'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'logits'.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 topk: int = 10,
                 cls_weight: float = 1.0,
                 reg_weight: float = 1.5,
                 focal_alpha: float = 0.25,
                 focal_gamma: float = 2.0,
                 prior_form: str = 'auto',
                 score_form: str = 'logits') -> None:
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise ValueError(f'LLAAssigner: topk must be an int >= 1, got {topk!r}')
        for name, value in dict(cls_weight=cls_weight, reg_weight=reg_weight,
                                focal_gamma=focal_gamma).items():
            if not 0 <= value < float('inf'):
                raise ValueError(f'LLAAssigner: {name} must be finite and >= 0, got {value!r}')
        if not 0 <= focal_alpha <= 1:
            raise ValueError(f'LLAAssigner: focal_alpha must be in [0, 1], got {focal_alpha!r}')
        for name, value, allowed in (('prior_form', prior_form, PRIOR_FORMS),
                                     ('score_form', score_form, SCORE_FORMS)):
            if value not in allowed:
                raise ValueError(f'LLAAssigner: {name} must be one of {allowed}, got {value!r}')
        self.topk = topk
        self.cls_weight = cls_weight
        self.reg_weight = reg_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.prior_form = prior_form
        self.score_form = score_form
        self._grids_of: tuple[Optional[Tensor], Optional[PriorGrids]] = (None, None)

    @torch.no_grad()
    def assign(self,
               pred_instances: InstanceData,
               gt_instances: InstanceData,
               gt_instances_ignore: Optional[InstanceData] = None,
               **kwargs) -> AssignResult:
        """Assign each prior of a picture to a box, to an ignore box or to the background.

        Args:
            pred_instances (:obj:`InstanceData`): ``priors`` (n, 2) or (n, 4), see ``prior_form``;
                ``bboxes`` (n, 4), the decoded predictions ``x1 y1 x2 y2``; ``scores`` (n, C), see
                ``score_form``. Pixels of the network's input.
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4). A label below
                0, or none, counts as class 0, as in the reference. Defaults to None.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (n,): 1-based index into ``gt_instances``, 0 for
            background, -1 where an ignore box won; ``max_overlaps`` (n,): IoU of the prediction
            and the box it went to, 0 on background; ``labels`` (n,): the box's class, -1
            elsewhere.

        Raises:
            ValueError: If predictions are missing, of an unknown form or not finite, or a label
                is out of range. The message names the field, what was found and what was expected.
        """
        points, bboxes, scores = self._read_predictions(pred_instances)
        boxes, labels, num_gts = _read_boxes(gt_instances, gt_instances_ignore, points)
        num_priors = len(points)
        gt_inds = labels.new_zeros(num_priors)
        max_overlaps = bboxes.new_zeros(num_priors)
        assigned_labels = labels.new_full((num_priors, ), -1)
        if len(boxes) and num_priors:
            # Costs are float32 whatever the precision of the network.
            with torch.autocast(points.device.type, enabled=False):
                columns, gt_columns = with_area(bboxes), with_area(boxes)
                owner = self._match(pred_instances, points, columns, scores, gt_columns, labels,
                                    num_gts)
                won, box = owner >= 0, owner.clamp(min=0)
                max_overlaps = pair_iou(columns, gt_columns.index_select(1, box)) * won
            positive = won & (box < num_gts)
            gt_inds = torch.where(positive, box + 1, -won.long())
            assigned_labels = torch.where(positive, labels[box], -1)
        return AssignResult(num_gts, gt_inds, max_overlaps, labels=assigned_labels)

    def _match(self, pred_instances: InstanceData, points: Tensor, bboxes: Tensor, scores: Tensor,
               boxes: Tensor, labels: Tensor, num_gts: int) -> Tensor:
        """Index of the box each prior went to, -1 for the background, shape (num_priors,).

        Predicted and true boxes are (5, n), see :func:`with_area`.
        """
        classes = labels.clamp(min=0, max=scores.size(1) - 1)
        focal = (self.focal_alpha, self.focal_gamma, self.score_form)
        absent = absent_cost(scores, *focal)
        rectangles = inside_rectangles(boxes[:4].T, self._grids(pred_instances.priors, points))
        # The most that a pair can cost: calling a class present costs more the lower its score.
        most = (self.cls_weight * (absent.amax() + focal_loss(scores.amin(), True, *focal)) +
                self.reg_weight * iou_cost(absent.new_zeros(())))
        faults = self._faults(pred_instances, bboxes, scores, most, boxes, labels, num_gts)
        # The one place where the host waits for the device: sizes and checks in one transfer.
        *sizes, exhaustive, faulty = torch.cat([
            rectangles.rows.sum(1), (rectangles.rows * rectangles.cols).sum(1),
            torch.stack([most >= OUTSIDE_PENALTY, torch.stack(list(faults.values())).any()])
        ]).tolist()
        if faulty:
            raise ValueError('LLAAssigner: ' + next(text for text, bad in faults.items() if bad))

        def add_up(iou: Tensor, absent: Tensor, scores: Tensor) -> Tensor:
            cls = class_cost(absent, scores, *focal).mul_(self.cls_weight)
            return iou_cost(iou).mul_(self.reg_weight).add_(cls)

        def pair_cost(box: Tensor, prior: Tensor) -> Tensor:
            place = (prior * scores.size(1)).add_(classes.index_select(0, box))
            return add_up(
                pair_iou(bboxes.index_select(1, prior), boxes.index_select(1, box)),
                absent.index_select(0, prior), scores.reshape(-1).index_select(0, place))

        def table_cost(box: Tensor, prior: Optional[Tensor]) -> Tensor:
            preds, centres, background, logits = bboxes, points, absent, scores
            if prior is not None:
                preds = preds.index_select(1, prior)
                centres, background, logits = (
                    part.index_select(0, prior) for part in (centres, background, logits))
            true = boxes.index_select(1, box).unsqueeze(-1)
            logits = logits.T.index_select(0, classes.index_select(0, box))
            cost = add_up(pair_iou(preds, true), background, logits)
            return cost.add_(~is_inside(true, centres.T), alpha=OUTSIDE_PENALTY)

        num_boxes = boxes.size(1)
        return match(rectangles, sizes[:num_boxes], sizes[num_boxes:], len(points), self.topk,
                     pair_cost, table_cost, bool(exhaustive))

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
                "type='LLAHead' for the head.")
        priors, bboxes = (get_box_tensor(pred_instances[k]) for k in ('priors', 'bboxes'))
        scores = pred_instances.scores
        widths = dict(points=(2, 4), boxes=(4, ), auto=(2, 4))[self.prior_form]
        if priors.dim() != 2 or priors.size(1) not in widths:
            raise ValueError(
                f'LLAAssigner: pred_instances.priors has shape {tuple(priors.shape)}; with '
                f'prior_form={self.prior_form!r} expected '
                f'{" or ".join(f"(n, {width})" for width in widths)}')
        num_priors = len(priors)
        if bboxes.shape != (num_priors, 4):
            raise ValueError(f'LLAAssigner: pred_instances.bboxes has shape {tuple(bboxes.shape)}, '
                             f'expected ({num_priors}, 4), one decoded box a prior')
        if scores.dim() != 2 or len(scores) != num_priors or not scores.size(1):
            raise ValueError(f'LLAAssigner: pred_instances.scores has shape {tuple(scores.shape)}, '
                             f'expected ({num_priors}, num_classes)')
        if self._holds_points(priors):
            points = priors[:, :2]
        else:
            points = (priors[:, :2] + priors[:, 2:]) / 2
        return points.float(), bboxes.float(), scores.float()

    def _holds_points(self, priors: Tensor) -> bool:
        return self.prior_form == 'points' or priors.size(1) == 2

    def _faults(self, pred_instances: InstanceData, bboxes: Tensor, scores: Tensor, most: Tensor,
                boxes: Tensor, labels: Tensor, num_gts: int) -> dict[str, Tensor]:
        """What can be wrong with the values: the message, and a flag that stays on the device."""
        low, high = torch.aminmax(labels[:num_gts]) if num_gts else (labels.new_zeros(()), ) * 2
        num_classes = scores.size(1)
        faults = {
            'pred_instances.bboxes holds NaN or infinite values, expected finite decoded boxes '
            'from the head; the training may have diverged': ~_all_finite(bboxes),
            'pred_instances.scores holds NaN or infinite values, expected finite scores from the '
            'head; the training may have diverged': ~most.isfinite(),
            'gt_instances.bboxes or gt_instances_ignore.bboxes holds NaN or infinite values, '
            'expected finite x1 y1 x2 y2 in pixels': ~_all_finite(boxes),
            f'gt_instances.labels holds a value outside 0..{num_classes - 1}; the head scores '
            f'{num_classes} class(es), see num_classes of the head and metainfo of the data set':
            (low < 0) | (high >= num_classes),
        }
        if self.score_form == 'probs':
            faults["pred_instances.scores holds values outside [0, 1]; score_form='probs' expects "
                   "probabilities, use 'logits' for raw scores"] = (
                       (scores.amin() < 0) | (scores.amax() > 1))
        priors = get_box_tensor(pred_instances.priors)
        if not self._holds_points(priors):
            faults[f'pred_instances.priors holds boxes with x2 < x1 or y2 < y1, so they seem to be '
                   f'points with strides; expected anchor boxes with prior_form='
                   f"{self.prior_form!r}, use prior_form='points'"] = (
                       (priors[:, 2:] < priors[:, :2]).any())
        return faults


def _read_boxes(gt_instances: InstanceData, gt_instances_ignore: Optional[InstanceData],
                points: Tensor) -> tuple[Tensor, Tensor, int]:
    """Boxes (k + m, 4) and labels (k + m,) of all that compete, and k."""
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
    if boxes.device != points.device:
        raise ValueError(f'LLAAssigner: gt_instances.bboxes is on {boxes.device}, '
                         f'pred_instances.priors on {points.device}; expected one device')
    return boxes.float(), labels, num_gts


def _all_finite(values: Tensor) -> Tensor:
    """Whether there is neither NaN nor infinity, in one pass."""
    return torch.stack(values.aminmax()).isfinite().all()
