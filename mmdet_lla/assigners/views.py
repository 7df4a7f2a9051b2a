"""What each assigner wants to be handed, so that one head can train under any of them."""

from collections.abc import Sequence
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

from .ignoring import IGNORE, assign_competing, assign_uncovered, none_given
from .instances import PictureError
from .lla_assigner import LLAAssigner
from .ota_assigner import OTAAssigner
from .poto_assigner import POTOAssigner

PRIORS = ('own', 'points', 'strided points', 'boxes')
SCORES = ('logits', 'probs', None)


class Assigned(NamedTuple):
    """What an assigner decided about the priors of a batch.

    Attributes:
        gt_inds (Tensor): 1-based index of the box of its picture that each prior went to, 0 for
            background, -1 for ignored, int64, (num_pictures, n).
        max_overlaps (Tensor, optional): See ``gives_iou`` of :class:`View`, (num_pictures, n).
        shadowed (Tensor, optional): Priors (among those of all pictures) and classes whose class
            loss is left out, int64, (m, 2); CenterRegionAssigner's.
    """

    gt_inds: Tensor
    max_overlaps: Tensor | None
    shadowed: Tensor | None


@dataclass(frozen=True)
class View:
    """What an assigner wants to be handed, and what its result means.

    Args:
        priors (str): Form of ``pred_instances.priors``. 'points': (n, 2), ``x y``; 'strided
            points': (n, 4), ``x y stride_x stride_y``; 'boxes': (n, 4), ``x1 y1 x2 y2``; 'own':
            what the head has, points (n, 2) or anchor boxes (n, 4).
        scores (str, optional): Whether ``pred_instances`` holds the decoded ``bboxes`` (n, 4) and
            ``scores`` (n, num_classes) as 'logits' or as 'probs' (their sigmoids); None: neither.
        anchor_scale (float): Side of the boxes put around points where 'boxes' are wanted of a
            head that has points, in strides. Defaults to 8, as ATSS has it.
        anchor_ratio (float): Height over width of these boxes, at the same area. Defaults to 1.
        levels (bool): Whether ``num_level_priors``, priors a level, is wanted. Defaults to False.
        img_meta (bool): Whether ``img_meta`` is wanted. Defaults to False.
        kwargs (dict): More keywords of ``assign``. Defaults to none.
        gives_iou (bool): Whether ``max_overlaps`` of a positive prior is the IoU of its predicted
            box and the box it went to; where not, the head computes it. Defaults to False.
        counts_ignored (bool): Whether priors marked -1 count in the losses' divisor, as in LLA's
            reference, where they were won by an ignore box. Defaults to False.
        on_cpu (bool): Whether the assigner is to be called with copies on the CPU. Defaults to
            False.
        ignore (str, optional): What becomes of ignore boxes, whatever the assigner knows of them.
            'compete': they are handed over as true boxes, and the priors they win are marked -1;
            'overlap': priors that one covers, for more than ``ignore_iof_thr`` of their area if
            'boxes' are wanted, are marked -1 and not handed over; 'unused': nothing. Defaults to
            None, the assigner's own ways.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.

    Raises:
        ValueError: If an argument is out of its range.
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

    def of_priors(self, priors: Tensor, strides: Tensor) -> Tensor:
        """A head's priors in the form that is wanted.

        Args:
            priors (Tensor): Points (n, 2) or anchor boxes (n, 4).
            strides (Tensor): Stride of each prior's level in x and y, (n, 2).

        Returns:
            Tensor: See ``priors`` of the class; ``priors`` itself where it has this form already.
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
        priors: Tensor,
        level_sizes: list[int],
        bboxes: Tensor,
        logits: Tensor,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None,
        img_meta: dict,
    ) -> AssignResult:
        """Call an assigner with what it wants.

        Args:
            assigner (BaseAssigner): The one this view is of.
            priors (Tensor): As :meth:`of_priors` gives them.
            level_sizes (list[int]): Number of priors a level.
            bboxes (Tensor): Decoded predictions ``x1 y1 x2 y2`` in pixels, (n, 4).
            logits (Tensor): Class scores before the sigmoid, (n, num_classes).
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4).
            img_meta (dict): Meta information of the picture.

        Returns:
            :obj:`AssignResult`: Its tensors on the device of ``bboxes``.
        """
        if self.ignore is not None:
            return self._assign_ignoring(
                assigner,
                priors,
                level_sizes,
                bboxes,
                logits,
                gt_instances,
                gt_instances_ignore,
                img_meta,
            )
        pred_instances = InstanceData(priors=priors)
        if self.scores is not None:
            pred_instances.bboxes = bboxes
            pred_instances.scores = logits.sigmoid() if self.scores == 'probs' else logits
        wanted = dict(self.kwargs)
        if self.levels:
            wanted['num_level_priors'] = level_sizes
        if self.img_meta:
            wanted['img_meta'] = img_meta
        instances = [pred_instances, gt_instances, gt_instances_ignore]
        if self.on_cpu:
            instances = [one if one is None else one.cpu() for one in instances]
        # By keyword: what comes second and third differs from assigner to assigner.
        result = assigner.assign(
            instances[0], gt_instances=instances[1], gt_instances_ignore=instances[2], **wanted
        )
        if self.on_cpu:
            for name in ('gt_inds', 'max_overlaps', 'labels'):
                if getattr(result, name) is not None:
                    setattr(result, name, getattr(result, name).to(bboxes.device))
        return result

    def assign_batch(
        self,
        assigner: BaseAssigner,
        priors: Tensor,
        level_sizes: list[int],
        bboxes: Tensor,
        logits: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        batch_gt_instances_ignore: Sequence[InstanceData] | None,
        batch_img_metas: Sequence[dict],
    ) -> Assigned:
        """Call an assigner for all pictures of a batch: at once if it can, or one by one.

        Args:
            assigner, priors, level_sizes: See :meth:`assign`.
            bboxes (Tensor): Decoded predictions ``x1 y1 x2 y2`` in pixels, (num_pictures, n, 4).
            logits (Tensor): Class scores before the sigmoid, (num_pictures, n, num_classes).
            batch_gt_instances (Sequence[:obj:`InstanceData`]): ``bboxes`` and ``labels`` a picture.
            batch_gt_instances_ignore (Sequence[:obj:`InstanceData`], optional): ``bboxes`` a
                picture.
            batch_img_metas (Sequence[dict]): Meta information a picture.

        Raises:
            PictureError: What the assigner says is wrong with a picture.
        """
        if assigns_batches(assigner) and self.scores is not None and self.ignore is None:
            scores = logits.sigmoid() if self.scores == 'probs' else logits
            result = assigner.assign_batch(
                priors, bboxes, scores, batch_gt_instances, batch_gt_instances_ignore
            )
            return Assigned(result.gt_inds, result.max_overlaps, None)
        ignored = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
        results = []
        for picture, single in enumerate(
            zip(bboxes, logits, batch_gt_instances, ignored, batch_img_metas, strict=True)
        ):
            try:
                results.append(self.assign(assigner, priors, level_sizes, *single))
            except ValueError as error:
                raise PictureError(str(error), picture) from error
        shadowed = [result.get_extra_property('shadowed_labels') for result in results]
        return Assigned(
            torch.stack([result.gt_inds for result in results]),
            torch.stack([result.max_overlaps for result in results]) if self.gives_iou else None,
            torch.cat(
                [
                    part + part.new_tensor([picture * len(priors), 0])
                    for picture, part in enumerate(shadowed)
                    if part is not None
                ]
            )
            if any(part is not None for part in shadowed)
            else None,
        )

    def _assign_ignoring(
        self,
        assigner: BaseAssigner,
        priors: Tensor,
        level_sizes: list[int],
        bboxes: Tensor,
        logits: Tensor,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None,
        img_meta: dict,
    ) -> AssignResult:
        """What :meth:`assign` does where ``ignore`` says what becomes of ignore boxes."""
        plain = replace(self, ignore=None)

        def assign_to(gt_instances: InstanceData) -> AssignResult:
            return plain.assign(
                assigner, priors, level_sizes, bboxes, logits, gt_instances, None, img_meta
            )

        def assign_some(left: Tensor, sizes: list[int]) -> AssignResult:
            return plain.assign(
                assigner,
                priors[left],
                sizes,
                bboxes[left],
                logits[left],
                gt_instances,
                None,
                img_meta,
            )

        if self.ignore == 'unused' or none_given(gt_instances_ignore):
            return assign_to(gt_instances)
        if self.ignore == 'compete':
            return assign_competing(assign_to, gt_instances, gt_instances_ignore, logits.size(1))
        has_boxes = priors.size(1) == 4 and self.priors != 'strided points'
        return assign_uncovered(
            assign_some,
            priors if has_boxes else priors[:, :2],
            level_sizes,
            gt_instances_ignore,
            self.ignore_iof_thr,
        )


def assigns_batches(assigner: BaseAssigner) -> bool:
    """Whether an assigner's ``assign_batch`` says what its ``assign`` does.

    It does not where a class below, or whoever watches an instance, has put another ``assign``
    over both.
    """
    for names in (vars(assigner), *map(vars, type(assigner).__mro__)):
        if 'assign_batch' in names:
            return True
        if 'assign' in names:
            return False
    return False


def _view_of_lla(assigner: LLAAssigner) -> View:
    forms = dict(auto='own', points='points', boxes='boxes')
    return View(
        'strided points' if assigner.candidates == 'center' else forms[assigner.prior_form],
        assigner.score_form,
        gives_iou=True,
        counts_ignored=assigner.ignore == 'compete',
    )


def _view_of_ota(assigner: OTAAssigner) -> View:
    """Boxes of 8 strides around points say as much as points with strides."""
    priors = 'strided points' if assigner.prior_form == 'points' else 'boxes'
    return View(priors, assigner.score_form, gives_iou=True)


def _view_of_poto(assigner: POTOAssigner) -> View:
    forms = dict(auto='own', points='points', boxes='boxes')
    if assigner.center_radius:  # in strides
        forms = dict(auto='boxes', points='strided points', boxes='boxes')
    return View(
        forms[assigner.prior_form],
        assigner.score_form,
        levels=assigner.one_to_many is not None,
        gives_iou=True,
    )


def _view_of_atss(assigner: ATSSAssigner) -> View:
    """Predictions are wanted for DDOD's dynamic cost alone, ATSS itself warns of them."""
    return View('boxes', None if assigner.alpha is None else 'logits', levels=True)


#: Views by class, or how to tell one from an assigner; None: not to be had from this head's
#: predictions, though the parent's would be.
VIEWS = {
    LLAAssigner: _view_of_lla,
    OTAAssigner: _view_of_ota,
    POTOAssigner: _view_of_poto,
    MaxIoUAssigner: View('boxes'),
    ApproxMaxIoUAssigner: None,  # several anchors a place at once
    MultiInstanceAssigner: None,  # several boxes a prior
    ATSSAssigner: _view_of_atss,
    SimOTAAssigner: View('strided points', 'probs'),
    DynamicSoftLabelAssigner: View('strided points', 'logits'),
    TaskAlignedAssigner: View('boxes', 'probs', kwargs=dict(alpha=1, beta=6)),
    TopkHungarianAssigner: None,  # tensors in place of instances
    # mmdet's indexes a tensor on the CPU by one on the GPU: open-mmlab/mmdetection#10436.
    PointAssigner: View('strided points', on_cpu=True),
    CenterRegionAssigner: View('boxes', anchor_scale=1),  # cells, as FSAF has them
    HungarianAssigner: View('own', 'logits', img_meta=True),
}


def view_of(assigner: BaseAssigner, cfg: dict | None = None) -> View:
    """The view of an assigner: its config's, its class's, or its nearest parent's.

    Args:
        assigner (BaseAssigner): Any assigner. A class of one's own says what it wants by a class
            attribute (or property) ``wants``, a :class:`View`.
        cfg (dict, optional): ``train_cfg.assigner_view``: arguments of :class:`View` that differ
            from those known, or all that are needed if none are known.

    Raises:
        ValueError: If neither says what the assigner wants, or ``cfg`` has unknown arguments.
    """
    name = type(assigner).__name__
    known = None
    for cls in type(assigner).__mro__:
        if 'wants' in vars(cls):
            known = assigner.wants
            if not isinstance(known, View):
                raise ValueError(f'{name}.wants must be a View, got {known!r}')
            break
        if cls in VIEWS:
            known = VIEWS[cls]
            break
    if known is not None and not isinstance(known, View):
        known = known(assigner)
    cfg = dict(cfg or {})
    names = [one.name for one in fields(View)]
    unknown = sorted(set(cfg) - set(names))
    if unknown:
        raise ValueError(
            f'train_cfg.assigner_view has no argument {", ".join(unknown)}; '
            f'expected some of {", ".join(names)}'
        )
    if known is not None:
        return replace(known, **cfg)
    if 'priors' not in cfg:
        raise ValueError(
            f'It is not known what {name} wants to be handed. Say so on its class, wants = '
            "mmdet_lla.assigners.View(priors='boxes', scores='probs'), or in the config, train_cfg "
            "= dict(assigner=..., assigner_view=dict(priors='boxes', scores='probs')); priors is "
            f'one of {PRIORS}, scores one of {SCORES}, see mmdet_lla.assigners.View for the rest'
        )
    return View(**cfg)


def view_for(assigner: BaseAssigner, train_cfg: dict) -> View:
    """The view of an assigner in a head's ``train_cfg``.

    Args:
        assigner (BaseAssigner): Any assigner. An LLAAssigner's and an OTAAssigner's own knob
            ``ignore`` is turned, others are looked after by the view.
        train_cfg (dict): ``assigner_view``, see :func:`view_of`; ``ignore``, what becomes of
            ignore boxes, see :class:`View`, None for what the assigner makes of them.

    Raises:
        ValueError: See :func:`view_of`; or if ``ignore`` is unknown.
    """
    ignore = train_cfg.get('ignore')
    if ignore not in (None, *IGNORE):
        raise ValueError(f'train_cfg.ignore must be one of {IGNORE} or None, got {ignore!r}')
    cfg = dict(train_cfg.get('assigner_view') or {})
    if ignore is not None:
        if isinstance(assigner, (LLAAssigner, OTAAssigner)):
            assigner.ignore = ignore
        else:
            cfg['ignore'] = ignore
    return view_of(assigner, cfg)
