"""What the assigners of this package share: mmdet's contract, one input path, one prior cache.

A new assigner is a subclass in its own file. It declares what it needs (``needs_strides``,
``needs_levels``, ``counts_ignored``) and matches the priors of one image. Its :class:`View` follows
from that, so :class:`LLAHead` trains with it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from .geometry import box_tensor, pair_iou, with_area
from .inputs import (
    Assignment,
    PriorCache,
    PriorInfo,
    check_ignored,
    check_names,
    check_shapes,
    check_values,
    copy_to_host,
    exclude_ignored,
    read_gts,
    summarize_predictions,
)
from .views import View

#: Keywords that mmdet's heads pass to some assigners, and that these need not use.
HEAD_KEYWORDS = ('num_level_priors', 'img_meta')


class ImageInputs(NamedTuple):
    """Checked input of one image, in float32.

    Attributes:
        priors (PriorInfo): The priors.
        preds (Tensor): Decoded predictions, see :func:`with_area`, (5, num_priors).
        scores (Tensor): Logits or probabilities, (num_priors, num_classes).
        gts (Tensor): Gts, ignore boxes that compete last, see :func:`with_area`, (5, num_gts).
        gt_labels (Tensor): int64, clamped to the classes of the head, (num_gts,).
        allowed (Tensor): Priors that ignore boxes do not exclude, bool, (num_priors,).
        num_level_priors (list[int], optional): Priors per level.
    """

    priors: PriorInfo
    preds: Tensor
    scores: Tensor
    gts: Tensor
    gt_labels: Tensor
    allowed: Tensor
    num_level_priors: list[int] | None


class PredictionAssigner(BaseAssigner):
    """Base of assigners that use predictions.

    Subclasses have the attributes ``prior_form`` and ``score_form``, may have ``ignore`` and
    ``ignore_iof_thr``, and implement :meth:`match_image`.
    """

    #: Whether distances are measured in strides, so that points without strides are not enough.
    needs_strides = False
    #: Whether ``num_level_priors`` is needed.
    needs_levels = False
    #: Whether priors won by ignore boxes count in the divisor of the losses.
    counts_ignored = False
    #: Use of ignore boxes, for assigners without such a setting.
    ignore: str | None = None
    ignore_iof_thr = 0.5

    @property
    def view(self) -> View:
        """Inputs of this assigner, for :class:`LLAHead`."""
        forms = dict(auto='own', points='points', boxes='boxes')
        if self.needs_strides:
            forms = dict(auto='boxes', points='strided points', boxes='boxes')
        return View(
            forms[self.prior_form],
            self.score_form,
            levels=self.needs_levels,
            gives_iou=True,
            counts_ignored=self.counts_ignored,
            own_ignore=self.ignore,
        )

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        *args: Any,
        ignore: str | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign each prior of an image to a gt, to background, or mark it as ignored.

        Args:
            pred_instances (:obj:`InstanceData`): ``priors`` (n, 2) or (n, 4), see ``prior_form``;
                ``bboxes`` (n, 4), the decoded predictions ``x1 y1 x2 y2``; ``scores``
                (n, num_classes), see ``score_form``. Pixels of the network's input.
            gt_instances (:obj:`InstanceData`): ``bboxes`` (k, 4) and ``labels`` (k,).
            gt_instances_ignore (:obj:`InstanceData`, optional): ``bboxes`` (m, 4), see ``ignore``.
                A missing or negative label counts as class 0. Defaults to None.
            ignore (str, optional): Overrides the setting ``ignore`` for this call.
            num_level_priors (list[int], optional): Priors per level, if needed.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (n,): 1-based index into ``gt_instances``, 0 for
            background, -1 where an ignore box won or excluded the prior; ``max_overlaps`` (n,):
            IoU of the prediction and its gt, 0 on background; ``labels`` (n,): the gt's label, -1
            elsewhere.

        Raises:
            ValueError: If predictions are missing, of an unknown form or not finite, a gt is
                inverted, or a label is out of range. The message names the field, what was found
                and what was expected.
        """
        who = type(self).__name__
        missing = [name for name in ('priors', 'bboxes', 'scores') if name not in pred_instances]
        if missing:
            raise ValueError(
                f'{who}: pred_instances has no {", ".join(missing)}. It uses predictions, so the '
                'head must pass priors, decoded bboxes and scores, as LLAHead, YOLOX, RTMDet and '
                'TOOD do; RetinaHead, FCOSHead and ATSSHead pass priors only: use '
                "type='LLAHead' for the head."
            )
        if args:
            raise TypeError(f'{who}.assign takes 4 positional arguments, got {len(args)} more')
        check_names(f'{who}.assign', list(kwargs), HEAD_KEYWORDS)
        levels = {'num_level_priors': kwargs.get('num_level_priors')} if self.needs_levels else {}
        found = self.assign_batch(
            pred_instances.priors,
            box_tensor(pred_instances.bboxes)[None],
            pred_instances.scores[None],
            [gt_instances],
            [gt_instances_ignore],
            ignore=ignore,
            **levels,
        ).select(0)
        return AssignResult(found.num_gts, found.gt_inds, found.max_overlaps, labels=found.labels)

    @torch.no_grad()
    def assign_batch(
        self,
        priors: Tensor,
        bboxes: Tensor,
        scores: Tensor,
        batch_gt_instances: Sequence[InstanceData],
        batch_gt_instances_ignore: Sequence[InstanceData | None] | None = None,
        *,
        ignore: str | None = None,
        num_level_priors: list[int] | None = None,
    ) -> Assignment:
        """Assign the priors of all images of a batch, one after the other.

        Arguments and errors are those of :meth:`LLA.assign_batch`, and ``num_level_priors``, the
        priors per level, if needed.
        """
        who, ignore = type(self).__name__, ignore or self.ignore
        priors, bboxes = box_tensor(priors), box_tensor(bboxes)
        cache = self.__dict__.setdefault('_prior_cache', PriorCache())
        info = cache.get(who, priors, self.prior_form, self.needs_strides)
        check_shapes(who, len(priors), bboxes, scores)
        competing = batch_gt_instances_ignore if ignore == 'compete' else None
        gts = read_gts(who, batch_gt_instances, competing, priors.device)
        sizes = np.bincount(gts.img_inds, minlength=len(bboxes)).tolist()
        num_gts, num_classes = gts.num_gts, scores.size(2)
        # Costs are float32 whatever the precision of the network.
        with torch.autocast(priors.device.type, enabled=False):
            bboxes, scores = bboxes.float(), scores.float()
            overlapping = batch_gt_instances_ignore if ignore == 'overlap' else None
            ignored = exclude_ignored(info, overlapping, self.ignore_iof_thr)
            gt_bboxes, gt_labels = torch.cat(gts.bboxes).float(), torch.cat(gts.labels).long()
            if len(priors) and (sum(sizes) or ignored.mask is not None):
                host = copy_to_host(
                    **summarize_predictions(bboxes, scores),
                    gt_bboxes=gt_bboxes,
                    gt_labels=gt_labels,
                    ignored=ignored.bboxes,
                )
                check_ignored(who, host['ignored'])
                num_scores = scores[0].numel()
                check_values(who, host, gts, self.score_form, num_scores, num_classes)
            gt_labels = gt_labels.clamp(min=0, max=num_classes - 1)
            excluded = ignored.mask
            if excluded is None:
                excluded = torch.zeros(bboxes.shape[:2], dtype=torch.bool, device=bboxes.device)
            found = [
                self._assign_image(
                    ImageInputs(
                        info,
                        with_area(pred),
                        score,
                        with_area(true),
                        labels,
                        ~excluded_here,
                        num_level_priors,
                    ),
                    num,
                )
                for pred, score, true, labels, excluded_here, num in zip(
                    bboxes,
                    scores,
                    gt_bboxes.split(sizes),
                    gt_labels.split(sizes),
                    excluded,
                    num_gts,
                    strict=True,
                )
            ]
        gt_inds, overlaps, labels = map(torch.stack, zip(*found, strict=True))
        return Assignment(num_gts, torch.where(excluded, -1, gt_inds), overlaps, labels)

    def _assign_image(self, image: ImageInputs, num_gts: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``gt_inds``, ``max_overlaps`` and ``labels``; gts from num_gts on are ignored."""
        num_priors = image.preds.size(1)
        if not image.gts.size(1) or not num_priors:
            gt_inds = torch.zeros_like(image.priors.inds)
            return gt_inds, image.preds.new_zeros(num_priors), gt_inds - 1
        matched = self.match_image(image)  # (num_priors,)
        won, gt = matched >= 0, matched.clamp(min=0)
        positive = won & (gt < num_gts)
        return (
            torch.where(positive, gt + 1, -won.long()),
            pair_iou(image.preds, image.gts.index_select(1, gt)) * won,
            torch.where(positive, image.gt_labels[gt], -1),
        )

    def match_image(self, image: ImageInputs) -> Tensor:
        """Return the index of the gt matched to each prior, -1 for background, (num_priors,).

        Args:
            image (ImageInputs): At least one gt and one prior.
        """
        raise NotImplementedError
