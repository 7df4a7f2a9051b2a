"""Views: what each assigner expects as input, so that one head can train with any of them."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from mmdet.models.task_modules.assigners import (
    ApproxMaxIoUAssigner,
    AssignResult,
    ATSSAssigner,
    BaseAssigner,
    CenterRegionAssigner,
    DynamicSoftLabelAssigner,
    HungarianAssigner,
    MaxIoUAssigner,
    MultiInstanceAssigner,
    PointAssigner,
    SimOTAAssigner,
    TaskAlignedAssigner,
    TopkHungarianAssigner,
)
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import find_covered
from .geometry import box_tensor
from .inputs import IGNORE, NOT_FINITE_IGNORED, ImageError, check_names

PRIORS = ('own', 'points', 'strided points', 'boxes')
SCORES = ('logits', 'probs', None)


class BatchMatches(NamedTuple):
    """Result of an assigner for the priors of a batch.

    Attributes:
        gt_inds (Tensor): 1-based index of the gt of its image that each prior is matched to, 0 for
            background, -1 for ignored, int64, (num_imgs, n).
        max_overlaps (Tensor, optional): See ``gives_iou`` of :class:`View`, (num_imgs, n).
        shadowed_labels (Tensor, optional): Priors (among those of all images) and classes without a
            class loss, int64, (m, 2); only from CenterRegionAssigner.
    """

    gt_inds: Tensor
    max_overlaps: Tensor | None
    shadowed_labels: Tensor | None


@dataclass(frozen=True)
class View:
    """Input that an assigner expects, and the meaning of its result.

    Args:
        priors (str): Form of ``pred_instances.priors``. 'points': (n, 2), ``x y``; 'strided
            points': (n, 4), ``x y stride_x stride_y``; 'boxes': (n, 4), ``x1 y1 x2 y2``; 'own':
            those of the head, points (n, 2) or anchor boxes (n, 4).
        scores (str, optional): Whether ``pred_instances`` holds the decoded ``bboxes`` (n, 4) and
            ``scores`` (n, num_classes) as 'logits' or as 'probs' (their sigmoids); None: neither.
        anchor_scale (float): Side of the boxes put around points where 'boxes' are expected from a
            head with points, in strides. Defaults to 8, as in ATSS.
        anchor_ratio (float): Height over width of these boxes, at the same area. Defaults to 1.
        levels (bool): Whether ``num_level_priors``, priors per level, is passed. Defaults to False.
        img_meta (bool): Whether ``img_meta`` is passed. Defaults to False.
        kwargs (dict): More keywords of ``assign``. Defaults to none.
        gives_iou (bool): Whether ``max_overlaps`` of a positive prior is the IoU of its predicted
            box and its gt; if not, the head computes it. Defaults to False.
        counts_ignored (bool): Whether priors marked -1 count in the divisor of the losses, as in
            LLA's reference code where they were won by an ignore box. Defaults to False.
        on_cpu (bool): Whether the assigner is called with copies on the CPU. Defaults to False.
        ignore (str, optional): Use of ignore boxes. 'compete': they are passed as gts, and the
            priors they win are marked -1; 'overlap': priors that one covers, for more than
            ``ignore_iof_thr`` of their area if 'boxes' are expected, are marked -1 and not passed;
            'unused': none. Defaults to None, the assigner's own use.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.
        own_ignore (str, optional): The assigner's own setting of this kind, for assigners whose
            ``assign`` takes ``ignore`` to override it. Defaults to None, it has none.

    Raises:
        ValueError: If an argument is out of its range.

    >>> point, stride = torch.tensor([[8.0, 8.0]]), torch.tensor([[4.0, 4.0]])
    >>> View('boxes', anchor_scale=2).convert_priors(point, stride)
    tensor([[ 4.,  4., 12., 12.]])
    """

    priors: str
    scores: str | None = None
    anchor_scale: float = 8
    anchor_ratio: float = 1
    levels: bool = False
    img_meta: bool = False
    kwargs: dict[str, Any] = field(default_factory=dict)
    gives_iou: bool = False
    counts_ignored: bool = False
    on_cpu: bool = False
    ignore: str | None = None
    ignore_iof_thr: float = 0.5
    own_ignore: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ('priors', PRIORS),
            ('scores', SCORES),
            ('ignore', (None, *IGNORE)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'View: {name} must be one of {allowed}, got {getattr(self, name)!r}'
                )
        for name in ('anchor_scale', 'anchor_ratio'):
            if not 0 < getattr(self, name) < float('inf'):
                raise ValueError(
                    f'View: {name} must be finite and > 0, got {getattr(self, name)!r}'
                )
        if not 0 <= self.ignore_iof_thr < 1:
            raise ValueError(f'View: ignore_iof_thr must be in [0, 1), got {self.ignore_iof_thr!r}')

    @property
    def counts_won(self) -> bool:
        """Whether priors marked -1 count, given what becomes of ignore boxes."""
        return self.counts_ignored and (self.ignore or self.own_ignore or 'compete') == 'compete'

    def convert_priors(self, priors: Tensor, strides: Tensor) -> Tensor:
        """Convert a head's priors to the expected form.

        Args:
            priors (Tensor): Points (n, 2) or anchor boxes (n, 4).
            strides (Tensor): Stride of each prior's level in x and y, (n, 2).

        Returns:
            Tensor: See ``priors`` of the class; ``priors`` itself if it already has this form.
        """
        has_boxes = priors.size(1) == 4
        if self.priors in ('own', 'boxes' if has_boxes else 'points'):
            return priors
        points = (priors[:, :2] + priors[:, 2:]) / 2 if has_boxes else priors
        if self.priors == 'points':
            return points
        if self.priors == 'strided points':
            return torch.cat([points, strides], 1)
        root = self.anchor_ratio**0.5
        half = strides * strides.new_tensor([1 / root, root]) * (self.anchor_scale / 2)
        return torch.cat([points - half, points + half], 1)

    def assign(
        self,
        assigner: BaseAssigner,
        *,
        priors: Tensor,
        num_level_priors: list[int],
        bboxes: Tensor,
        logits: Tensor,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None,
        img_meta: dict,
    ) -> AssignResult:
        """Call an assigner for one image.

        Args:
            assigner (BaseAssigner): The one this view belongs to.
            priors (Tensor): From :meth:`convert_priors`.
            num_level_priors (list[int]): Priors per level.
            bboxes (Tensor): Decoded predictions ``x1 y1 x2 y2`` in pixels, (n, 4).
            logits (Tensor): Class scores before the sigmoid, (n, num_classes).
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4).
            img_meta (dict): Meta information of the image.

        Returns:
            :obj:`AssignResult`: Its tensors on the device of ``bboxes``.
        """
        if self.ignore is not None and self.own_ignore is None:
            return self._assign_ignoring(
                assigner,
                gt_instances,
                gt_instances_ignore,
                dict(
                    priors=priors,
                    num_level_priors=num_level_priors,
                    bboxes=bboxes,
                    logits=logits,
                    img_meta=img_meta,
                ),
            )
        pred_instances = InstanceData(priors=priors)
        if self.scores is not None:
            pred_instances.bboxes = bboxes
            pred_instances.scores = logits.sigmoid() if self.scores == 'probs' else logits
        expected = dict(self.kwargs)
        if self.levels:
            expected['num_level_priors'] = num_level_priors
        if self.img_meta:
            expected['img_meta'] = img_meta
        if self.ignore is not None:
            expected['ignore'] = self.ignore
        instances = [pred_instances, gt_instances, gt_instances_ignore]
        if self.on_cpu:
            instances = [one if one is None else one.cpu() for one in instances]
        # By keyword: what comes second and third differs from assigner to assigner.
        result = assigner.assign(
            instances[0], gt_instances=instances[1], gt_instances_ignore=instances[2], **expected
        )
        if self.on_cpu:
            for name in ('gt_inds', 'max_overlaps', 'labels'):
                if getattr(result, name) is not None:
                    setattr(result, name, getattr(result, name).to(bboxes.device))
        return result

    def assign_batch(
        self,
        assigner: BaseAssigner,
        *,
        priors: Tensor,
        num_level_priors: list[int],
        bboxes: Tensor,
        logits: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        batch_gt_instances_ignore: Sequence[InstanceData] | None,
        batch_img_metas: Sequence[dict],
    ) -> BatchMatches:
        """Call an assigner for all images of a batch, at once if it can.

        Args:
            assigner, priors, num_level_priors: See :meth:`assign`.
            bboxes (Tensor): Decoded predictions ``x1 y1 x2 y2`` in pixels, (num_imgs, n, 4).
            logits (Tensor): Class scores before the sigmoid, (num_imgs, n, num_classes).
            batch_gt_instances (Sequence[:obj:`InstanceData`]): ``bboxes`` and ``labels`` per image.
            batch_gt_instances_ignore (Sequence[:obj:`InstanceData`], optional): ``bboxes`` per
                image.
            batch_img_metas (Sequence[dict]): Meta information per image.

        Raises:
            ImageError: Errors of the assigner that concern one image.
        """
        has_own_use = self.ignore is None or self.own_ignore is not None
        if overrides_batch(assigner) and self.scores is not None and has_own_use:
            levels = dict(num_level_priors=num_level_priors) if self.levels else {}
            result = assigner.assign_batch(
                priors,
                bboxes,
                logits.sigmoid() if self.scores == 'probs' else logits,
                batch_gt_instances,
                batch_gt_instances_ignore,
                ignore=self.ignore,
                **levels,
            )
            return BatchMatches(result.gt_inds, result.max_overlaps, None)
        results = []
        for img, gt_instances in enumerate(batch_gt_instances):
            ignored = batch_gt_instances_ignore[img] if batch_gt_instances_ignore else None
            try:
                result = self.assign(
                    assigner,
                    priors=priors,
                    num_level_priors=num_level_priors,
                    bboxes=bboxes[img],
                    logits=logits[img],
                    gt_instances=gt_instances,
                    gt_instances_ignore=ignored,
                    img_meta=batch_img_metas[img],
                )
            except ValueError as error:
                raise ImageError(str(error), img) from error
            results.append(result)
        shadowed = []
        for img, result in enumerate(results):
            labels = result.get_extra_property('shadowed_labels')
            if labels is not None:  # index among the priors of all images, and class
                shadowed.append(labels + labels.new_tensor([img * len(priors), 0]))
        return BatchMatches(
            torch.stack([result.gt_inds for result in results]),
            torch.stack([result.max_overlaps for result in results]) if self.gives_iou else None,
            torch.cat(shadowed) if shadowed else None,
        )

    def _assign_ignoring(
        self,
        assigner: BaseAssigner,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None,
        inputs: dict[str, Any],
    ) -> AssignResult:
        """Use ignore boxes as ``ignore`` says, for an assigner that does not know it."""
        plain = replace(self, ignore=None)

        def assign(gt_instances: InstanceData, **changed: Any) -> AssignResult:
            given = dict(gt_instances=gt_instances, gt_instances_ignore=None, **inputs)
            return plain.assign(assigner, **{**given, **changed})

        if self.ignore == 'unused' or not gt_instances_ignore:
            return assign(gt_instances)
        if self.ignore == 'compete':
            num_classes = inputs['logits'].size(1)
            return assign_competing(assign, gt_instances, gt_instances_ignore, num_classes)

        def assign_some(kept: Tensor, num_level_priors: list[int]) -> AssignResult:
            parts = {name: inputs[name][kept] for name in ('priors', 'bboxes', 'logits')}
            return assign(gt_instances, num_level_priors=num_level_priors, **parts)

        priors = inputs['priors']
        has_boxes = priors.size(1) == 4 and self.priors != 'strided points'
        return assign_uncovered(
            assign_some,
            priors if has_boxes else priors[:, :2],
            inputs['num_level_priors'],
            gt_instances_ignore,
            self.ignore_iof_thr,
            len(gt_instances),
        )


def assign_competing(
    assign: Callable[[InstanceData], AssignResult],
    gt_instances: InstanceData,
    gt_instances_ignore: InstanceData,
    num_classes: int,
) -> AssignResult:
    """Let ignore boxes compete like gts, and mark the priors they win by -1.

    Args:
        assign (Callable): Assigns to given gts, ``bboxes`` and ``labels``.
        gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
        gt_instances_ignore (:obj:`InstanceData`): ``bboxes`` (m, 4). A missing or negative label
            counts as class 0. Boxes of no area do not compete.
        num_classes (int): Number of classes.

    Raises:
        ValueError: If an ignore box is not finite.
    """
    bboxes, labels = box_tensor(gt_instances.bboxes), gt_instances.labels
    ignored = box_tensor(gt_instances_ignore.bboxes).to(bboxes.dtype)
    if not ignored.isfinite().all():
        raise ValueError(NOT_FINITE_IGNORED)
    ignored_labels = gt_instances_ignore.get('labels', labels.new_zeros(len(ignored)))
    # Some assigners give a box of no area all priors, since none is better than another.
    has_area = (ignored[:, 2:] > ignored[:, :2]).all(1)
    ignored, ignored_labels = ignored[has_area], ignored_labels[has_area]
    result = assign(
        InstanceData(
            bboxes=torch.cat([bboxes, ignored]),
            labels=torch.cat([labels, ignored_labels.clamp(min=0, max=num_classes - 1)]),
        )
    )
    won = result.gt_inds > len(bboxes)
    result.num_gts = len(bboxes)
    result.gt_inds = torch.where(won, -1, result.gt_inds)
    if result.labels is not None:
        result.labels = torch.where(won, -1, result.labels)
    return result


def assign_uncovered(
    assign: Callable[[Tensor, list[int]], AssignResult],
    priors: Tensor,
    num_level_priors: list[int],
    gt_instances_ignore: InstanceData,
    threshold: float,
    num_gts: int,
) -> AssignResult:
    """Pass only the priors to an assigner that ignore boxes do not cover; the others become -1.

    Args:
        assign (Callable): Assigns priors, given by their indices, int64, and their number per
            level.
        priors (Tensor): Anchor boxes (n, 4) or points (n, 2), see :func:`find_covered`.
        num_level_priors (list[int]): Priors per level.
        gt_instances_ignore (:obj:`InstanceData`): ``bboxes`` (m, 4).
        threshold (float): See :func:`find_covered`.
        num_gts (int): Number of gts.

    Raises:
        ValueError: If an ignore box is not finite.
    """
    ignored = box_tensor(gt_instances_ignore.bboxes).float()
    img_inds = torch.zeros(len(ignored), dtype=torch.int64, device=ignored.device)
    covered = find_covered(priors.float(), ignored, img_inds, 1, threshold)[0]  # (n,)
    kept_per_level = [(~level).sum() for level in covered.split(num_level_priors)]
    # One transfer for all levels.
    *sizes, finite = torch.stack([*kept_per_level, ignored.isfinite().all().long()]).tolist()
    if not finite:
        raise ValueError(NOT_FINITE_IGNORED)
    gt_inds = torch.where(covered, -1, 0)
    max_overlaps = torch.zeros(len(priors), device=priors.device)
    labels = torch.full_like(gt_inds, -1)
    if not sum(sizes):
        return AssignResult(num_gts, gt_inds, max_overlaps, labels=labels)
    kept = covered.sort(stable=True).indices[: sum(sizes)]
    result = assign(kept, sizes)
    gt_inds[kept] = result.gt_inds
    for whole, part in ((max_overlaps, result.max_overlaps), (labels, result.labels)):
        if part is not None:
            whole[kept] = part.to(whole.dtype)
    merged = AssignResult(result.num_gts, gt_inds, max_overlaps, labels=labels)
    for name, value in result._extra_properties.items():
        if name == 'shadowed_labels' and value is not None:  # prior and class
            value = torch.stack([kept[value[:, 0]], value[:, 1]], 1)
        merged.set_extra_property(name, value)
    return merged


def overrides_batch(assigner: BaseAssigner) -> bool:
    """Return whether an assigner's ``assign_batch`` gives the results of its ``assign``.

    It does not if a subclass, or a recorder on the instance, overrides ``assign`` only.
    """
    for names in (vars(assigner), *map(vars, type(assigner).__mro__)):
        if 'assign_batch' in names:
            return True
        if 'assign' in names:
            return False
    return False


def _view_atss(assigner: ATSSAssigner) -> View:
    """ATSS uses predictions for DDOD's dynamic cost only, and warns if it gets them without."""
    return View('boxes', None if assigner.alpha is None else 'logits', levels=True)


#: Views of mmdet's assigners, or functions of the assigner; None: cannot be used with LLAHead,
#: although its parent could.
VIEWS = {
    MaxIoUAssigner: View('boxes'),
    ApproxMaxIoUAssigner: None,  # several anchors per location at once
    MultiInstanceAssigner: None,  # several gts per prior
    ATSSAssigner: _view_atss,
    SimOTAAssigner: View('strided points', 'probs'),
    DynamicSoftLabelAssigner: View('strided points', 'logits'),
    TaskAlignedAssigner: View('boxes', 'probs', kwargs=dict(alpha=1, beta=6)),
    TopkHungarianAssigner: None,  # tensors instead of instances
    # mmdet's indexes a tensor on the CPU by one on the GPU: open-mmlab/mmdetection#10436.
    PointAssigner: View('strided points', on_cpu=True),
    CenterRegionAssigner: View('boxes', anchor_scale=1),  # cells, as in FSAF
    HungarianAssigner: View('own', 'logits', img_meta=True),
}


def view_of(assigner: BaseAssigner, cfg: dict | None = None) -> View:
    """Return the view of an assigner: its config's, its class's, or its nearest parent's.

    Args:
        assigner (BaseAssigner): Any assigner. A class of your own declares its input by a class
            attribute (or property) ``view``, a :class:`View`.
        cfg (dict, optional): ``train_cfg.assigner_view``: arguments of :class:`View` that differ
            from the known view, or all that are needed if there is none.

    Raises:
        ValueError: If neither declares the assigner's input, or ``cfg`` has unknown arguments.

    >>> view_of(MaxIoUAssigner(0.5, 0.5), dict(anchor_scale=4)).anchor_scale
    4
    """
    name = type(assigner).__name__
    known = None
    for cls in type(assigner).__mro__:
        if 'wants' in vars(cls):
            warnings.warn(
                f'{name}.wants is deprecated, name the attribute view', DeprecationWarning, 2
            )
        attribute = next((one for one in ('view', 'wants') if one in vars(cls)), None)
        if attribute is not None:
            known = getattr(assigner, attribute)
            if not isinstance(known, View):
                raise ValueError(f'{name}.{attribute} must be a View, got {known!r}')
            break
        if cls in VIEWS:
            known = VIEWS[cls]
            break
    if known is not None and not isinstance(known, View):
        known = known(assigner)
    cfg = dict(cfg or {})
    names = [one.name for one in fields(View) if one.name != 'own_ignore']
    check_names('train_cfg.assigner_view', list(cfg), names)
    if known is not None:
        return replace(known, **cfg)
    if 'priors' not in cfg:
        raise ValueError(
            f'The input that {name} expects is unknown. Declare it on its class, view = '
            "mmdet_lla.assigners.View(priors='boxes', scores='probs'), or in the config, train_cfg "
            "= dict(assigner=..., assigner_view=dict(priors='boxes', scores='probs')); priors is "
            f'one of {PRIORS}, scores one of {SCORES}, see mmdet_lla.assigners.View for the rest'
        )
    return View(**cfg)


def view_for(assigner: BaseAssigner, train_cfg: dict) -> View:
    """Return the view of an assigner under a head's ``train_cfg``; the assigner is not changed.

    Args:
        assigner (BaseAssigner): Any assigner.
        train_cfg (dict): ``assigner_view``, see :func:`view_of`; ``ignore``, the use of ignore
            boxes, see :class:`View`, None for the assigner's own.

    Raises:
        ValueError: See :func:`view_of`; or if ``ignore`` is unknown.
    """
    ignore = train_cfg.get('ignore')
    if ignore not in (None, *IGNORE):
        raise ValueError(f'train_cfg.ignore must be one of {IGNORE} or None, got {ignore!r}')
    cfg = dict(train_cfg.get('assigner_view') or {})
    if ignore is not None:
        cfg['ignore'] = ignore
    return view_of(assigner, cfg)
