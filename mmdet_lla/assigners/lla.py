"""LLA for any training code: needs torch and NumPy, but neither mmdet nor mmengine.

:func:`assign` is the functional form, :class:`LLA` keeps settings and cached priors.
"""

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .candidates import CandidateRule, find_near_any_gt, inside_rectangles
from .costs import REG_COSTS, ClassLoss, PairCosts, base_cost, bce_loss, focal_loss
from .geometry import box_tensor, pair_iou, with_area
from .inputs import (
    IGNORE,
    PRIOR_FORMS,
    SCORE_FORMS,
    Assignment,
    GtList,
    IgnoredPriors,
    PriorCache,
    PriorInfo,
    check_ignored,
    check_names,
    check_settings,
    check_shapes,
    check_values,
    copy_to_host,
    exclude_ignored,
    is_count,
    read_gts,
    summarize_predictions,
)
from .matching import (
    OUTSIDE_PENALTY,
    GtIndex,
    compute_dynamic_topk,
    list_allowed,
    match,
    to_device,
)

CHOICES = dict(
    prior_form=PRIOR_FORMS,
    score_form=SCORE_FORMS,
    candidates=('inside', 'center', 'all'),
    contested=('all', 'picked'),
    cls_cost=('focal', 'bce'),
    reg_cost=tuple(REG_COSTS),
    ignore=IGNORE,
)

#: A larger penalty would leave float32 too few digits to tell pairs outside apart.
MAX_PENALTY = 1e6


@dataclass(eq=False)
class LLA:
    r"""Loss-aware label assignment (`LLA <https://arxiv.org/abs/2101.04307>`_, section 3).

    A gt and a prior cost ``cls_weight * focal + reg_weight * (-log IoU)``, and 1000 more where the
    prior's center is not inside the gt by 0.01 px. Every gt takes its ``topk`` cheapest priors; a
    prior taken by several is matched to the cheapest of all gts; the rest is background. Three
    details follow the released code and may surprise: a gt with fewer than ``topk`` priors inside
    takes outside ones too; a contested prior may be matched to a gt that did not take it; ignore
    boxes compete like gts, and the priors they win are marked -1.

    The first seven arguments are LLA's. The others replace its steps one by one by other rules, up
    to SimOTA's (`YOLOX <https://arxiv.org/abs/2107.08430>`_, see :meth:`simota`). Settings may be
    changed between calls.

    Args:
        topk (int | str): K, the number of priors a gt takes; 'dynamic': the sum of the gt's
            ``candidate_topk`` largest IoUs with predictions, rounded down, at least 1. Defaults
            to 10.
        cls_weight (float): Weight of the class cost. Defaults to 1.0.
        reg_weight (float): Weight of the box cost. Defaults to 1.5.
        focal_alpha (float): Alpha of the focal loss. Defaults to 0.25.
        focal_gamma (float): Gamma of the focal loss. Defaults to 2.0.
        prior_form (str): What ``priors`` holds. 'points': (n, 2), or (n, 4) as points with strides
            ``x y s s``; 'boxes': (n, 4) anchor boxes ``x1 y1 x2 y2``, represented by their center;
            'auto': points if (n, 2), anchor boxes if (n, 4). Defaults to 'auto'.
        score_form (str): Whether scores are 'logits' or 'probs' (probabilities). Defaults to
            'logits'.
        candidates (str): Which pairs pay no penalty. 'inside': the prior is inside the gt;
            'center', as in SimOTA: it is inside, by any margin, and in x and y less than
            ``center_radius`` strides from the gt's center (requires points with strides), and
            priors that are neither inside nor near the center of any gt are excluded; 'all': every
            pair. Defaults to 'inside'.
        center_radius (float): See ``candidates``, in strides. Defaults to 2.5.
        candidate_topk (int): See ``topk``. Defaults to 10.
        contested (str): Whether a prior taken by several gts goes to the cheapest of 'all' gts or
            of those that 'picked' it. Defaults to 'all'.
        ties (str, optional): Deprecated, without effect: of equally cheap priors a gt takes the
            one of lower index.
        cls_cost (str): Class cost, summed over the classes: 'focal' loss, or 'bce', binary cross
            entropy. Defaults to 'focal'.
        reg_cost (str): Box cost. 'iou': -log IoU, of an IoU of at least 1.2e-7; 'iou_plus_eps':
            -log(IoU + 1e-7), SimOTA's; 'giou': 1 - GIoU. Defaults to 'iou'.
        ignore (str): Use of ignore boxes. 'compete': see above; 'overlap': priors covered by one
            for more than ``ignore_iof_thr`` of their area (anchor boxes) or lying inside one
            (points) are marked -1 and matched to no gt; 'unused': none. Defaults to 'compete'.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.
        outside_penalty (float): What pairs other than ``candidates`` pay, up to 1e6. The larger,
            the fewer digits of float32 are left to tell them apart. Defaults to 1000.

    Raises:
        ValueError: If an argument is out of its range, or two contradict each other.
    """

    topk: int | str = 10
    cls_weight: float = 1.0
    reg_weight: float = 1.5
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    prior_form: str = 'auto'
    score_form: str = 'logits'
    _: KW_ONLY
    candidates: str = 'inside'
    center_radius: float = 2.5
    candidate_topk: int = 10
    contested: str = 'all'
    ties: str | None = None
    cls_cost: str = 'focal'
    reg_cost: str = 'iou'
    ignore: str = 'compete'
    ignore_iof_thr: float = 0.5
    outside_penalty: float = OUTSIDE_PENALTY

    def __post_init__(self) -> None:
        infinity, who = float('inf'), type(self).__name__
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
        check_settings(who, checks, vars(self))
        if self.candidates == 'center' and self.prior_form != 'points':
            raise ValueError(
                f"{who}: candidates='center' needs points with strides, expected "
                f"prior_form='points', got {self.prior_form!r}"
            )
        if self.ties is not None:
            warnings.warn(
                f'{who}: ties is deprecated and has no effect, equal costs go to the lower index',
                DeprecationWarning,
                stacklevel=3,
            )
        self._prior_cache = PriorCache()

    @classmethod
    def simota(
        cls,
        center_radius: float = 2.5,
        candidate_topk: int = 10,
        iou_weight: float = 3.0,
        cls_weight: float = 1.0,
    ) -> 'LLA':
        """Create the assigner that decides as mmdet's ``SimOTAAssigner`` of the same arguments.

        Results are equal up to ties and costs that differ by less than 1e-7. It expects points with
        strides and probabilities. ``max_overlaps`` of background priors is 0, not -1e5.
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
            cls_cost='bce',
            reg_cost='iou_plus_eps',
            ignore='unused',
            outside_penalty=1e5,
        )

    @property
    def class_loss(self) -> ClassLoss:
        """The class loss of the costs, including its weight."""
        if self.cls_cost == 'bce':
            return bce_loss(self.score_form, self.cls_weight)
        return focal_loss(self.focal_alpha, self.focal_gamma, self.score_form, self.cls_weight)

    @torch.no_grad()
    def assign_batch(
        self,
        priors: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        batch_gt_instances: Sequence[Any],
        batch_gt_instances_ignore: Sequence[Any | None] | None = None,
        *,
        ignore: str | None = None,
    ) -> Assignment:
        """Assign the priors of all images of a batch at once.

        The images share their priors. A batch takes as many operator calls as one image, and as
        many host-device synchronizations: one; two if ``topk`` is 'dynamic'.

        Args:
            priors (Tensor): (n, 2) or (n, 4), see ``prior_form``.
            bboxes (Tensor): Decoded predictions in pixels of the network's input, (num_imgs, n, 4).
            scores (Tensor): See ``score_form``, (num_imgs, n, num_classes).
            batch_gt_instances (Sequence): Objects with ``bboxes`` and ``labels``, one per image.
            batch_gt_instances_ignore (Sequence, optional): Objects with ``bboxes``, one per image,
                or None. A missing or negative label counts as class 0. Defaults to none.
            ignore (str, optional): Overrides the setting ``ignore`` for this call.

        Returns:
            Assignment: Of all images.

        Raises:
            ValueError: If predictions are of an unknown form or not finite, a gt is inverted, or a
                label is out of range; an :class:`ImageError` where one image is concerned. The
                message names the field, what was found and what was expected. Boxes of no area are
                valid; an inverted ignore box is one of no area.
        """
        who, ignore = type(self).__name__, ignore or self.ignore
        priors, bboxes = box_tensor(priors), box_tensor(bboxes)
        info = self._prior_cache.get(who, priors, self.prior_form, self.candidates == 'center')
        check_shapes(who, len(priors), bboxes, scores)
        competing = batch_gt_instances_ignore if ignore == 'compete' else None
        gts = read_gts(who, batch_gt_instances, competing, priors.device)
        # Costs are float32 whatever the precision of the network.
        with torch.autocast(priors.device.type, enabled=False):
            overlapping = batch_gt_instances_ignore if ignore == 'overlap' else None
            ignored = exclude_ignored(info, overlapping, self.ignore_iof_thr)
            if len(gts.img_inds) and len(priors):
                result = self._match(info, bboxes, scores.float(), gts, ignored)
            else:
                if ignored.mask is not None:
                    check_ignored(who, copy_to_host(ignored=ignored.bboxes)['ignored'])
                gt_inds = priors.new_zeros(bboxes.shape[:2], dtype=torch.int64)
                overlaps = torch.zeros_like(gt_inds, dtype=torch.float32)
                result = Assignment(gts.num_gts, gt_inds, overlaps, gt_inds - 1)
        if ignored.mask is not None:
            result = result._replace(gt_inds=torch.where(ignored.mask, -1, result.gt_inds))
        return result

    def _match(
        self,
        priors: PriorInfo,
        bboxes: Tensor,
        scores: Tensor,
        gts: GtList,
        ignored: IgnoredPriors,
    ) -> Assignment:
        """See :meth:`assign_batch`; ignored priors are matched to no gt."""
        num_imgs, num_priors, num_classes = scores.shape
        device, num_gts = scores.device, len(gts.img_inds)
        img_inds, first = to_device(device, gts.img_inds, gts.img_inds * num_priors)

        # 1. Candidates. The last gt, of no area, stands for background.
        boxes = torch.cat([bboxes.flatten(0, 1), *gts.bboxes, priors.background_bbox]).float()
        num_preds = num_imgs * num_priors
        preds, targets = with_area(boxes).split([num_preds, num_gts + 1], 1)
        gt_bboxes = targets[:, :-1]  # (5, num_gts)
        base = base_cost(scores, self.class_loss)  # (num_preds,)
        excluded, rectangles = ignored.mask, None
        radius: Tensor | None = None
        if self.candidates == 'center':
            radius = priors.radius(self.center_radius)
            far = ~find_near_any_gt(gt_bboxes, img_inds, num_imgs, priors.points, radius)
            excluded = far if excluded is None else far | excluded
        if self.candidates == 'inside' and excluded is None and priors.grids is not None:
            rectangles = inside_rectangles(gt_bboxes[:4], priors.grids, first)

        nothing = base[:0]
        runs = inside = nothing.double()
        if rectangles is not None:
            runs = rectangles.rows.sum(0, dtype=torch.float64)
            inside = (rectangles.rows * rectangles.cols).sum(0)
        host = copy_to_host(
            num_runs=runs,
            num_inside=inside,
            gt_bboxes=boxes[num_preds:-1],
            num_excluded=nothing if excluded is None else excluded.sum(1),
            ignored=ignored.bboxes,
            **summarize_predictions(boxes[:num_preds].view(num_imgs, -1), scores),
            max_base=base.view(num_imgs, -1).amax(1),
            gt_labels=gts.labels,
        )
        del boxes
        self._check_host_values(host, gts, num_priors, num_classes)
        gt_labels = host['gt_labels'].astype(np.int64)
        if self._max_cost(host, gts, num_classes) >= self.outside_penalty:
            rectangles = None

        # 2. Costs. What a prior receives from its gt, or from background: index and label.
        received = np.r_[gts.numbers, 0, np.where(gts.numbers > 0, gt_labels, -1), -1]
        labels, received = to_device(device, gt_labels.clip(0, num_classes - 1), received)
        costs = PairCosts(
            preds,
            gt_bboxes,
            scores,
            base,
            labels,
            self.class_loss,
            REG_COSTS[self.reg_cost][0],
            self.reg_weight,
            CandidateRule(self.candidates, priors.points, radius),
            self.outside_penalty,
        )

        # 3. Matching.
        allowed, max_topk = None, np.full(num_gts, num_priors)
        if excluded is not None:
            allowed = list_allowed(excluded, num_priors - host['num_excluded'].astype(np.int64))
            max_topk = allowed.counts[gts.img_inds]
        index = GtIndex(gts.img_inds, num_imgs, priors.inds, max_topk)
        if isinstance(self.topk, int):
            topk = np.full(num_gts, self.topk)
        else:
            topk = compute_dynamic_topk(costs, index, self.candidate_topk, allowed).cpu().numpy()
        matched = match(
            rectangles,
            host['num_runs'].astype(np.int64),
            host['num_inside'].astype(np.int64),
            index._replace(topk=np.minimum(topk, max_topk)),
            costs,
            allowed,
            self.contested,
        )  # (num_preds,)
        overlaps = pair_iou(preds, targets.index_select(1, matched)).nan_to_num_(0.0)
        received = received.view(2, -1).index_select(1, matched)
        gt_inds, labels = received.view(2, num_imgs, num_priors)
        return Assignment(gts.num_gts, gt_inds, overlaps.view(num_imgs, num_priors), labels)

    def _check_host_values(
        self, host: dict[str, np.ndarray], gts: GtList, num_priors: int, num_classes: int
    ) -> None:
        who = type(self).__name__
        check_ignored(who, host['ignored'])
        check_values(who, host, gts, self.score_form, num_priors * num_classes, num_classes)

    def _max_cost(self, host: dict[str, np.ndarray], gts: GtList, num_classes: int) -> float:
        """Bound the costs of inside pairs from above."""
        # The loss for a class being present is larger the lower its score.
        positive = self.class_loss.max_positive(host['score_min']) if num_classes > 1 else 0.0
        bound = host['max_base'] + positive + self.reg_weight * REG_COSTS[self.reg_cost][1]
        return bound[gts.img_inds].max()


#: Names of the fields in messages, and those of the arguments of :func:`assign`.
_ARGUMENTS = {
    'pred_instances.priors': 'priors',
    'pred_instances.bboxes': 'pred_bboxes',
    'pred_instances.scores': 'cls_scores',
    'gt_instances_ignore.bboxes': 'ignored_bboxes',
    'gt_instances.bboxes': 'gt_bboxes',
    'gt_instances.labels': 'gt_labels',
}


def assign(
    priors: Tensor,
    pred_bboxes: Tensor,
    cls_scores: Tensor,
    gt_bboxes: Tensor | Sequence[Tensor],
    gt_labels: Tensor | Sequence[Tensor],
    ignored_bboxes: Tensor | Sequence[Tensor] | None = None,
    **settings: Any,
) -> Assignment:
    """Assign each prior to a gt, to background, or mark it as ignored, by LLA's rule.

    Args:
        priors (Tensor): Points (n, 2) or anchor boxes (n, 4) in pixels, shared by all images. Pass
            the same tensor again to reuse what was computed of it.
        pred_bboxes (Tensor): Decoded predictions ``x1 y1 x2 y2`` of an image (n, 4), or of a batch
            (num_imgs, n, 4).
        cls_scores (Tensor): Class logits (n, num_classes) or (num_imgs, n, num_classes).
        gt_bboxes (Tensor | Sequence[Tensor]): (k, 4); a sequence of these for a batch.
        gt_labels (Tensor | Sequence[Tensor]): (k,), int64; a sequence of these for a batch.
        ignored_bboxes (Tensor | Sequence[Tensor], optional): Ignore boxes (m, 4); a sequence of
            these for a batch. Defaults to none.
        settings: Arguments of :class:`LLA`.

    Returns:
        Assignment: ``num_gts``, ``gt_inds``, ``max_overlaps`` and ``labels``; see there.

    Raises:
        ValueError: See :meth:`LLA.assign_batch`.

    >>> priors = torch.tensor([[8.0, 8.0], [16.0, 8.0], [90.0, 8.0]])
    >>> preds = torch.tensor([[4.0, 2, 20, 16], [4.0, 0, 30, 16], [80.0, 0, 99, 9]])
    >>> gts, labels = torch.tensor([[4.0, 1.0, 21.0, 16.0]]), torch.tensor([0])
    >>> found = assign(priors, preds, torch.zeros(3, 1), gts, labels, topk=2)
    >>> found.gt_inds.tolist()  # 1-based; 0 is background
    [1, 1, 0]
    """
    check_names('assign', list(settings), [one.name for one in fields(LLA)])
    lla = _create(tuple(sorted(settings.items())))
    single = pred_bboxes.dim() == 2
    if single:
        pred_bboxes, cls_scores = pred_bboxes[None], cls_scores[None]

    def per_image(values: Any) -> Sequence[Tensor]:
        return [values] if single else values

    gts = [
        SimpleNamespace(bboxes=bboxes, labels=labels)
        for bboxes, labels in zip(per_image(gt_bboxes), per_image(gt_labels), strict=True)
    ]
    ignored = None
    if ignored_bboxes is not None:
        ignored = [SimpleNamespace(bboxes=bboxes) for bboxes in per_image(ignored_bboxes)]
    try:
        found = lla.assign_batch(priors, pred_bboxes, cls_scores, gts, ignored)
    except ValueError as error:
        text = str(error).replace('LLA: ', 'assign: ')
        for name, argument in _ARGUMENTS.items():
            text = text.replace(name, argument)
        raise ValueError(text) from error
    return found.select(0) if single else found


@lru_cache(maxsize=16)
def _create(settings: tuple[tuple[str, Any], ...]) -> LLA:
    return LLA(**dict(settings))
