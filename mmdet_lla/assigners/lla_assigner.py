"""LLAAssigner: LLA's knobs and mmdet's contract around the pure functions beside it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import (
    PriorGrids,
    Rectangles,
    Rule,
    are_covered,
    find_grids,
    in_any,
    inside_rectangles,
)
from .costs import (
    REG_COSTS,
    PairCosts,
    base_cost,
    bce_loss,
    focal_loss,
    pair_iou,
    with_area,
)
from .ignoring import IGNORE
from .instances import (
    NOT_FINITE_IGNORE,
    BatchAssignResult,
    BoxList,
    PictureError,
    find_box_fault,
    read_boxes,
    to_host,
)
from .matching import OUTSIDE_PENALTY, Boxes, dynamic_topk, free_priors, match, to_device
from .predictions import (
    NO_PROBABILITY,
    NOT_FINITE_PREDICTION,
    NOT_FINITE_SCORE,
    require_predictions,
)
from .settings import PRIOR_FORMS, SCORE_FORMS, check_settings, is_count

CHOICES = dict(
    prior_form=PRIOR_FORMS,
    score_form=SCORE_FORMS,
    candidates=('inside', 'center', 'all'),
    contested=('all', 'picked'),
    ties=('lower', 'topk'),
    cls_cost=('focal', 'bce'),
    reg_cost=tuple(REG_COSTS),
    ignore=IGNORE,
)

#: A larger penalty would leave float32 too few digits to tell pairs outside apart.
MAX_PENALTY = 1e6


class _Priors(NamedTuple):
    """What is known of the priors of a picture.

    Attributes:
        places (Tensor): 0, 1, ..., int64, shape (num_priors,).
        rule (Rule): Which boxes they compete for.
        grids (PriorGrids): Their centres as grids.
        nowhere (Tensor): A box of no area, shape (1, 4).
    """

    places: Tensor
    rule: Rule
    grids: PriorGrids
    nowhere: Tensor


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
        topk: int | str = 10,
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
            focal_loss(focal_alpha, focal_gamma, score_form, cls_weight)
            if cls_cost == 'focal'
            else bce_loss(score_form, cls_weight)
        )
        self._priors_of: tuple[Tensor | None, _Priors | None] = (None, None)

    def _check_arguments(self) -> None:
        infinity = float('inf')
        checks = dict(
            topk=(self.topk == 'dynamic' or is_count(self.topk), "an int >= 1 or 'dynamic'"),
            candidate_topk=(is_count(self.candidate_topk), 'an int >= 1'),
            focal_alpha=(0 <= self.focal_alpha <= 1, 'in [0, 1]'),
            center_radius=(0 < self.center_radius < infinity, 'finite and > 0'),
            ignore_iof_thr=(0 <= self.ignore_iof_thr < 1, 'in [0, 1)'),
            outside_penalty=(0 <= self.outside_penalty <= MAX_PENALTY, f'in [0, {MAX_PENALTY:g}]'),
        )
        for name in ('cls_weight', 'reg_weight', 'focal_gamma'):
            checks[name] = (0 <= getattr(self, name) < infinity, 'finite and >= 0')
        for name, allowed in CHOICES.items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        check_settings('LLAAssigner', checks, vars(self))
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
        gt_instances_ignore: InstanceData | None = None,
        *args: Any,  # ATSSHead's: it passes level sizes second, and no predictions
        **kwargs: Any,
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
        require_predictions('LLAAssigner', pred_instances)
        return self._assign(
            pred_instances.priors,
            get_box_tensor(pred_instances.bboxes)[None],
            pred_instances.scores[None],
            [gt_instances],
            [gt_instances_ignore],
        ).of_picture(0)

    @torch.no_grad()
    def assign_batch(
        self,
        priors: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        batch_gt_instances_ignore: Sequence[InstanceData | None] | None = None,
    ) -> BatchAssignResult:
        """Assign the priors of all pictures of a batch at once, each as :meth:`assign` does.

        The pictures share their priors. It takes as many calls of operators as one picture does,
        and as many waits of the host for the device: one; a second where ``topk`` is 'dynamic'.

        Args:
            priors (Tensor): (n, 2) or (n, 4), see ``prior_form``.
            bboxes (Tensor): Decoded predictions, (num_pictures, n, 4).
            scores (Tensor): See ``score_form``, (num_pictures, n, C).
            batch_gt_instances (Sequence[:obj:`InstanceData`]): ``bboxes`` and ``labels`` a picture.
            batch_gt_instances_ignore (Sequence[:obj:`InstanceData`], optional): ``bboxes`` a
                picture, or None. Defaults to none.

        Returns:
            BatchAssignResult: What :meth:`assign` gives, of all pictures.

        Raises:
            ValueError: See :meth:`assign`; a :class:`PictureError` where it is about one picture.
        """
        return self._assign(priors, bboxes, scores, batch_gt_instances, batch_gt_instances_ignore)

    def _assign(
        self,
        priors: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        batch_gt_instances_ignore: Sequence[InstanceData | None] | None,
    ) -> BatchAssignResult:
        priors, bboxes = get_box_tensor(priors), get_box_tensor(bboxes)
        self._check_shapes(priors, bboxes, scores)
        competing = batch_gt_instances_ignore if self.ignore == 'compete' else None
        listed = read_boxes(batch_gt_instances, competing, device=priors.device)
        # Costs are float32 whatever the precision of the network.
        with torch.autocast(priors.device.type, enabled=False):
            covered, ignored = self._covered(priors, batch_gt_instances_ignore)
            if len(listed.picture) and len(priors):
                result = self._match(priors, bboxes, scores.float(), listed, covered, ignored)
            else:
                _check_ignored(*(to_host(ignored) if covered is not None else ()))
                gt_inds = priors.new_zeros(bboxes.shape[:2], dtype=torch.int64)
                overlaps = torch.zeros_like(gt_inds, dtype=torch.float32)
                result = BatchAssignResult(listed.num_gts, gt_inds, overlaps, gt_inds - 1)
        if covered is not None:
            result = result._replace(gt_inds=torch.where(covered, -1, result.gt_inds))
        return result

    def _match(
        self,
        priors: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        listed: BoxList,
        covered: Tensor | None,
        ignored: Tensor,
    ) -> BatchAssignResult:
        """See :meth:`assign_batch`; covered priors go to no box."""
        num_pictures, num_priors, num_classes = scores.shape
        device, num_boxes = priors.device, len(listed.picture)
        known = self._know(priors)
        picture, first = to_device(device, listed.picture, listed.picture * num_priors)

        # The last box, of no area, stands for the background.
        rows = torch.cat([bboxes.flatten(0, 1), *listed.bboxes, known.nowhere]).float()
        preds, boxes = with_area(rows).split([num_pictures * num_priors, num_boxes + 1], 1)
        true = boxes[:, :-1]
        base = base_cost(scores, self._class_loss)
        barred, rectangles = covered, None
        if known.rule.reach is not None:
            far = ~in_any(true, picture, num_pictures, known.rule.points, known.rule.reach)
            barred = far if barred is None else far | barred
        if self.candidates == 'inside' and self.ties == 'lower' and barred is None:
            rectangles = inside_rectangles(true[:4], known.grids, first)

        seen = _see(rows, base, scores, listed.labels, rectangles, barred, ignored)
        del rows
        most = self._check_values(listed, seen, num_classes)
        if most >= self.outside_penalty:
            rectangles = None

        # What a prior of the box, or of the background, is told: its number, and its class.
        told = np.r_[listed.number, 0, np.where(listed.number > 0, seen.labels, -1), -1]
        classes, told = to_device(device, seen.labels.clip(0, num_classes - 1), told)
        costs = PairCosts(
            preds,
            true,
            scores,
            base,
            classes,
            self._class_loss,
            REG_COSTS[self.reg_cost][0],
            self.reg_weight,
            known.rule,
            self.outside_penalty,
        )
        free, may_pick = None, np.full(num_boxes, num_priors)
        if barred is not None:
            free = free_priors(barred, num_priors - seen.num_barred)
            may_pick = free.sizes[listed.picture]
        matched = Boxes(listed.picture, num_pictures, known.places, may_pick)
        if isinstance(self.topk, int):
            topk = np.full(num_boxes, self.topk)
        else:
            topk = dynamic_topk(costs, matched, self.candidate_topk, free).cpu().numpy()
        owner = match(
            rectangles,
            seen.num_runs,
            seen.num_inside,
            matched._replace(topk=np.minimum(topk, may_pick)),
            costs,
            free,
            self.contested,
            self.ties,
        )
        overlaps = pair_iou(preds, boxes.index_select(1, owner)).nan_to_num_(0.0)
        told = told.view(2, -1).index_select(1, owner)
        gt_inds, labels = told.view(2, num_pictures, num_priors)
        overlaps = overlaps.view(num_pictures, num_priors)
        return BatchAssignResult(listed.num_gts, gt_inds, overlaps, labels)

    def _covered(
        self,
        priors: Tensor,
        batch_gt_instances_ignore: Sequence[InstanceData | None] | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Which priors ignore boxes take out, bool (num_pictures, num_priors), and these boxes.

        None if there can be none.
        """
        everyone = batch_gt_instances_ignore or []
        counts = np.array([0 if one is None else len(one) for one in everyone], dtype=np.int64)
        if self.ignore != 'overlap' or not counts.any():
            return None, priors[:0]
        parts = [get_box_tensor(one.bboxes) for one in everyone if one is not None]
        ignored = torch.cat(parts).float()
        (picture,) = to_device(priors.device, np.arange(len(counts)).repeat(counts))
        forms = priors[:, :2] if self._holds_points(priors) else priors
        return (
            are_covered(forms.float(), ignored, picture, len(counts), self.ignore_iof_thr),
            ignored,
        )

    def _know(self, priors: Tensor) -> _Priors:
        """What is known of priors, found once for a tensor that is handed over again and again."""
        last, known = self._priors_of
        if last is priors and known is not None:
            return known
        values = priors.detach().cpu()
        if not self._holds_points(priors) and (values[:, 2:] < values[:, :2]).any():
            raise ValueError(
                f'LLAAssigner: pred_instances.priors holds boxes with x2 < x1 or y2 < y1, so they '
                'seem to be points with strides; expected anchor boxes with prior_form='
                f"{self.prior_form!r}, use prior_form='points'"
            )
        if self.candidates == 'center' and not (values[:, 2:] > 0).all():
            raise ValueError(
                'LLAAssigner: pred_instances.priors holds strides that are not > 0; candidates='
                "'center' expects points with strides, x y stride_x stride_y"
            )
        points = values[:, :2]
        if not self._holds_points(priors):
            points = (points + values[:, 2:]) / 2
        points, reach = points.float(), None
        if self.candidates == 'center':
            reach = (values[:, 2:].float().T * self.center_radius).to(priors.device)
        known = _Priors(
            torch.arange(len(points), device=priors.device),
            Rule(self.candidates, points.T.contiguous().to(priors.device), reach),
            find_grids(points, priors.device),
            torch.zeros(1, 4, device=priors.device),
        )
        self._priors_of = (priors, known)
        return known

    def _holds_points(self, priors: Tensor) -> bool:
        return self.prior_form == 'points' or priors.size(1) == 2

    def _check_shapes(self, priors: Tensor, bboxes: Tensor, scores: Tensor) -> None:
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
        if bboxes.shape[1:] != (num_priors, 4):
            raise ValueError(
                f'LLAAssigner: pred_instances.bboxes has shape {tuple(bboxes.shape[1:])}, '
                f'expected ({num_priors}, 4), one decoded box a prior'
            )
        if scores.dim() != 3 or scores.size(1) != num_priors or not scores.size(2):
            raise ValueError(
                f'LLAAssigner: pred_instances.scores has shape {tuple(scores.shape[1:])}, '
                f'expected ({num_priors}, num_classes)'
            )

    def _check_values(self, listed: BoxList, seen: '_Seen', num_classes: int) -> float:
        """Raise if values are wrong in a picture that has boxes; give the most a pair can cost."""
        _check_ignored(seen.ignored)
        # Calling a class present costs more the lower its score.
        present = self._class_loss.most_present(seen.low) if num_classes > 1 else 0.0
        most = seen.base + present + self.reg_weight * REG_COSTS[self.reg_cost][1]
        finite, probs = np.isfinite, self.score_form == 'probs'
        faults = {
            NOT_FINITE_PREDICTION: ~finite(seen.least + seen.largest),
            NOT_FINITE_SCORE: ~finite(seen.low + seen.high + (0.0 if probs else seen.base)),
        }
        found = find_box_fault(
            seen.bboxes, seen.labels, listed.picture, listed.number > 0, num_classes
        )
        if found is not None:
            picture, text = found
            faults[text] = np.arange(len(most)) == picture
        if probs:
            faults[NO_PROBABILITY] = (seen.low < 0) | (seen.high > 1)
        has_boxes = np.bincount(listed.picture, minlength=len(most)) > 0
        bad = has_boxes & np.logical_or.reduce(list(faults.values()))
        if bad.any():
            picture = int(bad.argmax())
            text = next(text for text, where in faults.items() if where[picture])
            raise PictureError(f'LLAAssigner: {text}', picture)
        return most[has_boxes].max()


class _Seen(NamedTuple):
    """What the host has seen of a batch. ``b`` boxes, ``p`` pictures.

    Attributes:
        num_runs, num_inside (np.ndarray): Rows of the boxes' rectangles and priors in them, int64,
            (b,); nothing without rectangles.
        bboxes, labels (np.ndarray): The boxes (b, 4) and their classes, int64, (b,).
        num_barred (np.ndarray): Barred priors, int64, (p,); nothing if none can be.
        ignored (np.ndarray): Ignore boxes that take priors out, flat.
        least, largest (np.ndarray): Extreme coordinates of the predictions, (p,).
        low, high (np.ndarray): Extreme scores, (p,).
        base (np.ndarray): Largest :func:`base_cost`, (p,).
    """

    num_runs: np.ndarray
    num_inside: np.ndarray
    bboxes: np.ndarray
    labels: np.ndarray
    num_barred: np.ndarray
    ignored: np.ndarray
    least: np.ndarray
    largest: np.ndarray
    low: np.ndarray
    high: np.ndarray
    base: np.ndarray


def _see(
    rows: Tensor,
    base: Tensor,
    scores: Tensor,
    labels: list[Tensor],
    rectangles: Rectangles | None,
    barred: Tensor | None,
    ignored: Tensor,
) -> _Seen:
    """Let the host see what it has to know, in the one copy that it waits for.

    ``rows`` are the predictions of all pictures, the boxes, and one more.
    """
    num_pictures, none = len(scores), base[:0]
    runs, inside = none.double(), none
    if rectangles is not None:
        runs = rectangles.rows.sum(0, dtype=torch.float64)
        inside = (rectangles.rows * rectangles.cols).sum(0)
    preds, scores = rows[: len(base)].view(num_pictures, -1), scores.flatten(1)
    host = to_host(
        runs,
        inside,
        rows[len(base) : -1],
        none if barred is None else barred.sum(1),
        ignored,
        preds.amin(1),
        preds.amax(1),
        scores.amin(1),
        scores.amax(1),
        base.view(num_pictures, -1).amax(1),
        *labels,
    )
    return _Seen(
        host[0].astype(np.int64),
        host[1].astype(np.int64),
        host[2].reshape(-1, 4),
        np.concatenate(host[10:]).astype(np.int64),
        host[3].astype(np.int64),
        *host[4:10],
    )


def _check_ignored(ignored: np.ndarray | None = None) -> None:
    if ignored is not None and not np.isfinite(ignored).all():
        raise ValueError(f'LLAAssigner: {NOT_FINITE_IGNORE}')
