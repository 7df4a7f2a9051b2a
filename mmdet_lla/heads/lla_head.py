"""LLAHead: RetinaHead with an IoU branch, trained with any assigner."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule, Scale
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.task_modules import (
    AnchorGenerator,
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
    MlvlPointGenerator,
)
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps, cat_boxes, get_box_tensor
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..assigners.inputs import (
    CACHE_SIZE,
    GtList,
    ImageError,
    check_names,
    copy_to_host,
    find_gt_fault,
    read_gts,
)
from ..assigners.lla_assigner import LLAAssigner
from ..assigners.views import View, view_for
from .one_to_one import OneToOneBranch
from .targets import disable_compile, find_positive, label_priors, naming_images

#: Keys of ``train_cfg`` that have an effect.
TRAIN_KEYS = ('assigner', 'assigner_view', 'ignore', 'one_to_one')

#: Keys of RetinaHead's ``train_cfg`` without an effect here, and the test of values that ask for
#: none: all priors take part, with equal weights.
RETINA_TRAIN_KEYS = dict(
    allowed_border=lambda value: value < 0,
    pos_weight=lambda value: value <= 0,
    debug=lambda value: not value,
    sampler=lambda value: value is None or value['type'] == 'PseudoSampler',
)
TEST_KEYS = (
    'nms_pre',
    'min_bbox_size',
    'score_thr',
    'nms',
    'max_per_img',
    'clip_detections',
    'sqrt_score',
    'score_calibration',
    'one_to_one',
)


class Priors(NamedTuple):
    """Priors of all levels.

    Attributes:
        own (Tensor): As the box coder reads them: points (n, 2) or anchor boxes (n, 4).
        converted (Tensor): As the assigner expects them, see :class:`View`.
        num_level_priors (list[int]): Priors per level.
    """

    own: Tensor
    converted: Tensor
    num_level_priors: list[int]


class Targets(NamedTuple):
    """Targets of a batch; p of its N * n priors are positive.

    Attributes:
        positive (Tensor): Index of the positive priors among those of all images, (p,).
        labels (Tensor): Label of each prior, ``num_classes`` for background, (N * n,).
        label_weights (Tensor): Weights of the class loss, (N * n,), or (N * n, num_classes) where
            the assigner ignores priors per class.
        bboxes (Tensor): Gts of the positive priors, ``x1 y1 x2 y2`` in pixels, (p, 4).
        ious (Tensor): IoU of the positive priors' predictions with these, (p,).
        count (Tensor): What the batch adds to the divisor of the losses, scalar.
    """

    positive: Tensor
    labels: Tensor
    label_weights: Tensor
    bboxes: Tensor
    ious: Tensor
    count: Tensor


@MODELS.register_module()
class LLAHead(RetinaHead):
    r"""Head of `LLA <https://arxiv.org/abs/2101.04307>`_: class, box and IoU of every prior.

    Its form is chosen by config alone:

    - points (LLA.FCOS of the paper, the default): ``MlvlPointGenerator`` and
      ``DistancePointBBoxCoder``; the box branch predicts distances ``relu(scale * pred) * stride``
      to the four sides, in pixels;
    - anchor boxes (LLA.RetinaNet): ``AnchorGenerator`` and ``DeltaXYWHBBoxCoder``; the box branch
      predicts ``scale * pred`` as deltas.

    It trains with any assigner, ``train_cfg.assigner``, that declares its input, see :class:`View`.
    This package's and mmdet's do; ``train_cfg.assigner_view`` changes or adds to that. Every prior
    of the batch's grid takes part, also those whose anchor box extends beyond the image and those
    in the padding of a smaller image.

    ``train_cfg.ignore`` sets the use of ignore boxes for all assigners, with the meaning it has in
    :class:`LLA`: 'compete', 'overlap' or 'unused'. Without it, the assigner's own applies.

    Args:
        num_classes (int): Number of classes without background.
        in_channels (int): Channels of the feature maps.
        stacked_convs, conv_cfg, anchor_generator: See :class:`RetinaHead`.
        norm_cfg (dict, optional): Norm of the towers. Defaults to GN with 32 groups.
        conv_bias (bool | str): Bias of the towers' convolutions: 'auto' adds one if they have no
            norm, True always (as the reference code). Defaults to 'auto'.
        loss_iou (dict): Loss of the IoU branch against the IoU of prediction and gt. Defaults to
            binary cross entropy of weight 0.5.
        test_cfg (dict, optional): mmdet's keys, and ``clip_detections``: whether detections are
            clipped to the image after NMS and ``max_per_img``, and dropped if nothing of them lies
            inside. With ``clip_border=False`` in the box coder and ``min_bbox_size=-1``, which do
            the same before NMS, detections equal those of the reference code. Defaults to False.
            ``sqrt_score``: whether scores are ``sqrt(cls * iou)``, as in the reference code, or
            ``cls * iou``, which ranks the same but is lower. Defaults to True. ``nms=None``:
            detections are the ``max_per_img`` of highest score. ``one_to_one``: whether the
            one-to-one branch predicts, without NMS, or the head's own branches, with NMS; defaults
            to True. ``score_calibration``: (scale, bias) of a map of the scores, in logits, to the
            probability of a correct detection, see :func:`calibrate_scores`. Defaults to None.
        one_to_one (dict, optional): One-to-one classification branch, see :class:`OneToOneBranch`:
            ``stacked_convs``, ``detach`` and ``loss_weight``; ``train_cfg.one_to_one`` configures
            its training. It uses the head's boxes and IoUs. Defaults to None.
        kwargs: See :class:`RetinaHead`. Boxes are always regressed decoded.

    Raises:
        ValueError: If prior generator and box coder do not fit together, an argument is out of its
            range, a key of ``train_cfg`` or ``test_cfg`` is unknown or has no effect, or the input
            that the assigner expects is unknown.

    >>> head = LLAHead(1, 32, feat_channels=32, train_cfg=dict(assigner=dict(type='LLAAssigner')))
    >>> cls_scores, bbox_preds, iou_preds = head([torch.zeros(1, 32, 4, 4)] * 5)
    >>> cls_scores[0].shape, bbox_preds[0].shape
    (torch.Size([1, 1, 4, 4]), torch.Size([1, 4, 4, 4]))
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        stacked_convs: int = 4,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = dict(type='GN', num_groups=32, requires_grad=True),
        anchor_generator: ConfigType = dict(
            type='MlvlPointGenerator', offset=0, strides=[8, 16, 32, 64, 128]
        ),
        *,
        conv_bias: bool | str = 'auto',
        bbox_coder: ConfigType = dict(type='DistancePointBBoxCoder'),
        loss_cls: ConfigType = dict(
            type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_bbox: ConfigType = dict(type='GIoULoss', loss_weight=2.0),
        loss_iou: ConfigType = dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5),
        one_to_one: OptConfigType = None,
        **kwargs,
    ) -> None:
        if conv_bias not in ('auto', True):
            raise ValueError(f"LLAHead: conv_bias must be 'auto' or True, got {conv_bias!r}")
        if not kwargs.setdefault('reg_decoded_bbox', True):
            raise ValueError('LLAHead: reg_decoded_bbox must be True, its box loss is an IoU loss')
        if not loss_cls.get('use_sigmoid', False):
            raise ValueError('LLAHead: loss_cls must have use_sigmoid=True, scores are sigmoids')
        _check_train_cfg(kwargs.get('train_cfg') or {})
        check_names('LLAHead: test_cfg', list(kwargs.get('test_cfg') or {}), TEST_KEYS)
        self.conv_bias = conv_bias
        self._one_to_one_cfg = one_to_one
        super().__init__(
            num_classes,
            in_channels,
            stacked_convs,
            conv_cfg,
            norm_cfg,
            anchor_generator,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            **kwargs,
        )
        self.loss_iou = MODELS.build(loss_iou)
        self._prior_cache: dict[tuple, Priors] = {}
        if self.train_cfg:
            self._view()

    def _init_layers(self) -> None:
        """Layers of RetinaHead, the IoU branch, a scale per level and the one-to-one branch."""
        super()._init_layers()
        pair = (type(self.prior_generator), type(self.bbox_coder))
        self.with_points = issubclass(pair[0], MlvlPointGenerator)
        fits = DistancePointBBoxCoder if self.with_points else DeltaXYWHBBoxCoder
        if not issubclass(pair[0], (MlvlPointGenerator, AnchorGenerator)) or not issubclass(
            pair[1], fits
        ):
            raise ValueError(
                f'LLAHead: anchor_generator {pair[0].__name__} and bbox_coder {pair[1].__name__} '
                'do not go together; expected MlvlPointGenerator with DistancePointBBoxCoder, or '
                'AnchorGenerator with DeltaXYWHBBoxCoder'
            )
        if self.conv_bias is True:
            for convs in (self.cls_convs, self.reg_convs):
                for i, conv in enumerate(convs):
                    convs[i] = ConvModule(
                        conv.in_channels,
                        conv.out_channels,
                        3,
                        padding=1,
                        bias=True,
                        conv_cfg=self.conv_cfg,
                        norm_cfg=self.norm_cfg,
                    )
        self.retina_iou = nn.Conv2d(self.retina_reg.in_channels, self.num_base_priors, 3, padding=1)
        self.scales = nn.ModuleList(Scale(1.0) for _ in self.prior_generator.strides)
        self.one_to_one = None
        if self._one_to_one_cfg is not None:
            self.one_to_one = OneToOneBranch(
                self.retina_cls.out_channels,
                self.num_classes,
                self.retina_reg.in_channels,
                (self.train_cfg or {}).get('one_to_one'),
                conv_cfg=self.conv_cfg,
                norm_cfg=self.norm_cfg,
                init_cfg=self.init_cfg,
                **self._one_to_one_cfg,
            )

    @property
    def predicts_one_to_one(self) -> bool:
        """Whether the one-to-one branch predicts, if there is one; see ``test_cfg.one_to_one``."""
        if self.one_to_one is None:
            return False
        return (self.test_cfg or {}).get('one_to_one', True)

    @property
    def needs_nms(self) -> bool:
        """Whether predictions of :meth:`forward` need NMS, by ``test_cfg``."""
        return not self.predicts_one_to_one and (self.test_cfg or {}).get('nms') is not None

    def forward(
        self, x: tuple[Tensor, ...], both: bool = False
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict class, box and IoU on every level.

        Args:
            x (tuple[Tensor]): Feature maps, each (N, in_channels, H, W).
            both (bool): Whether to return the class logits of both branches, as training needs.
                Defaults to False.

        Returns:
            tuple[list[Tensor]]: Per level: class logits (N, num_base_priors * num_classes, H, W),
            those of the one-to-one branch if it predicts; box predictions (N, num_base_priors * 4,
            H, W) as the box coder reads them, and IoU logits (N, num_base_priors, H, W). If
            ``both``, the head's own class logits come first and those of the one-to-one branch
            fourth.

        Raises:
            ValueError: If the numbers of feature maps and strides differ.
        """
        strides = self.prior_generator.strides
        if len(x) != len(strides):
            raise ValueError(
                f'LLAHead: got {len(x)} feature maps, but anchor_generator has {len(strides)} '
                f'strides, {strides}; expected one feature map per stride'
            )
        outs = [self.forward_single(*level) for level in zip(x, self.scales, strides, strict=True)]
        cls_scores, *others, one_to_one = map(list, zip(*outs, strict=True))
        if both:
            return cls_scores, *others, one_to_one
        return one_to_one if self.predicts_one_to_one else cls_scores, *others

    def forward_single(
        self, x: Tensor, scale: Scale, stride: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Predict on one level; the one-to-one branch's class logits come last, or None.

        Args:
            x (Tensor): Feature map, (N, in_channels, H, W).
            scale (:obj:`Scale`): Learned factor of the level's box predictions.
            stride (tuple[int, int]): Stride of the level in x and y, in pixels.
        """
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        # Half precision has neither the range nor the resolution for pixels.
        bbox_pred = scale(self.retina_reg(reg_feat)).float()
        if self.with_points:
            # A number needs no copy to the device.
            factor = stride[0]
            if stride[0] != stride[1]:
                factor = bbox_pred.new_tensor(stride * 2).view(1, 4, 1, 1)
            bbox_pred = bbox_pred.relu() * factor
        cls_score = self.retina_cls(cls_feat)
        one_to_one = None if self.one_to_one is None else self.one_to_one(reg_feat, cls_score)
        return cls_score, bbox_pred, self.retina_iou(reg_feat), one_to_one

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses of a batch; see :meth:`loss_by_feat`.

        Args:
            x (tuple[Tensor]): Feature maps, each (N, in_channels, H, W).
            batch_data_samples (list[:obj:`DetDataSample`]): ``gt_instances``, ``ignored_instances``
                and meta information per image.

        Returns:
            dict[str, Tensor]: From :meth:`loss_by_feat`, and ``loss_one_to_one`` with a one-to-one
            branch.
        """
        outs = self(x, both=self.one_to_one is not None)
        return self._compute_all_losses(outs, *unpack_gt_instances(batch_data_samples))

    def loss_and_predict(
        self,
        x: tuple[Tensor, ...],
        batch_data_samples: SampleList,
        proposal_cfg: OptConfigType = None,
    ) -> tuple[dict[str, Tensor], InstanceList]:
        """Compute losses and predictions of a batch; see :meth:`loss` and `predict_by_feat`."""
        instances = unpack_gt_instances(batch_data_samples)
        outs = self(x, both=self.one_to_one is not None)
        losses = self._compute_all_losses(outs, *instances)
        cls_scores = outs[3] if self.predicts_one_to_one else outs[0]
        predictions = self.predict_by_feat(
            cls_scores, outs[1], outs[2], batch_img_metas=instances[2], cfg=proposal_cfg
        )
        return losses, predictions

    def _compute_all_losses(
        self,
        outs: tuple[list[Tensor], ...],
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute the losses of both branches."""
        instances = batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        losses = self.loss_by_feat(*outs[:3], *instances)
        if self.one_to_one is not None:
            priors = self._grid_priors(outs[3], self.one_to_one.view())
            losses['loss_one_to_one'] = self.one_to_one.loss(
                self.loss_cls,
                _flatten_levels(outs[3], self.cls_out_channels),
                self._decode(priors, outs[1]).detach(),
                priors.converted,
                priors.num_level_priors,
                *instances,
            )
        return losses

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        iou_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch, in float32 whatever the precision of the network.

        All three share one divisor: the number of positive priors, mean over the processes, at
        least 1; with LLA, as in its reference code, priors won by ignore boxes count too. Priors
        that the assigner marks as ignored take no part in any loss.

        Args:
            cls_scores, bbox_preds, iou_preds (list[Tensor]): From :meth:`forward`.
            batch_gt_instances (list[:obj:`InstanceData`]): ``bboxes`` and ``labels`` per image.
            batch_img_metas (list[dict]): Meta information per image.
            batch_gt_instances_ignore (list[:obj:`InstanceData`], optional): ``bboxes`` per image.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, scalars.

        Raises:
            ValueError: If a gt is inverted or not finite, a label is no class of the head, or the
                assigner rejects the values, with the path of the image; or if the strides do not
                fit the feature maps.
        """
        self._check_strides(cls_scores, batch_img_metas)
        view = self._view()
        priors = self._grid_priors(cls_scores, view)
        scores = _flatten_levels(cls_scores, self.cls_out_channels).float()  # (N, n, C)
        bboxes = self._decode(priors, bbox_preds)  # (N, n, 4)
        ious = _flatten_levels(iou_preds, 1).float()  # (N, n, 1)
        targets = self._get_targets(
            scores.detach(),
            bboxes.detach(),
            batch_gt_instances,
            batch_gt_instances_ignore,
            batch_img_metas,
            priors,
            view,
        )
        return self._compute_losses(
            scores.flatten(0, 1), bboxes.flatten(0, 1), ious.flatten(), targets
        )

    def _decode(self, priors: Priors, bbox_preds: list[Tensor]) -> Tensor:
        """Decode the predicted boxes of a batch, ``x1 y1 x2 y2`` in pixels, (N, n, 4)."""
        preds = _flatten_levels(bbox_preds, 4).float()
        own = priors.own.expand(len(preds), -1, -1).flatten(0, 1)
        bboxes = self.bbox_coder.decode(own, preds.flatten(0, 1))
        return get_box_tensor(bboxes).view_as(preds)

    @disable_compile
    def _get_targets(
        self,
        scores: Tensor,
        bboxes: Tensor,
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
        batch_img_metas: list[dict],
        priors: Priors,
        view: View,
    ) -> Targets:
        """Compute the targets from class logits (N, n, C) and decoded boxes (N, n, 4)."""
        with naming_images(batch_img_metas):
            gts = read_gts('LLAHead', batch_gt_instances)
            if not isinstance(self.assigner, LLAAssigner):  # which checks without a copy of its own
                _check_gts(gts, self.num_classes)
            matches = view.assign_batch(
                self.assigner,
                priors=priors.converted,
                num_level_priors=priors.num_level_priors,
                bboxes=bboxes,
                logits=scores,
                batch_gt_instances=batch_gt_instances,
                batch_gt_instances_ignore=batch_gt_instances_ignore,
                batch_img_metas=batch_img_metas,
            )
        gt_inds = matches.gt_inds  # (N, n)
        positive, pos_gts = find_positive(gt_inds, gts)
        labels = label_priors(gt_inds, positive, pos_gts, gts, self.num_classes)
        label_weights = (gt_inds >= 0).to(bboxes.dtype).flatten()
        if matches.shadowed_labels is not None:
            label_weights = label_weights.unsqueeze(1).repeat(1, self.num_classes)
            label_weights[matches.shadowed_labels.unbind(1)] = 0
        bbox_targets = torch.cat(gts.bboxes)[pos_gts]
        if view.gives_iou:
            ious = matches.max_overlaps.flatten()[positive]
        else:
            ious = bbox_overlaps(bboxes.flatten(0, 1)[positive], bbox_targets, is_aligned=True)
        counted = gt_inds != 0 if view.counts_won else gt_inds > 0
        return Targets(positive, labels, label_weights, bbox_targets, ious, counted.sum())

    def _compute_losses(
        self, scores: Tensor, bboxes: Tensor, ious: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        """Compute losses of logits (N * n, C), decoded boxes (N * n, 4) and IoU logits (N * n,)."""
        divisor = reduce_mean(targets.count.to(bboxes.dtype)).clamp(min=1)
        pos_bboxes = bboxes[targets.positive]
        # mmdet's IoU losses cut the graph where there is nothing to regress; DDP needs it whole.
        loss_bbox = (
            pos_bboxes.sum()
            if not len(pos_bboxes)
            else self.loss_bbox(pos_bboxes, targets.bboxes, avg_factor=divisor)
        )
        return dict(
            loss_cls=self.loss_cls(
                scores, targets.labels, targets.label_weights, avg_factor=divisor
            ),
            loss_bbox=loss_bbox,
            loss_iou=self.loss_iou(ious[targets.positive], targets.ious, avg_factor=divisor),
        )

    def get_targets(self, *args, **kwargs) -> None:
        """Not available: targets depend on predictions; see :meth:`loss_by_feat`."""
        raise NotImplementedError(
            'LLAHead.get_targets: targets depend on the predictions, call loss_by_feat'
        )

    def loss_by_feat_single(self, *args, **kwargs) -> None:
        """Not available: all levels share one assignment; see :meth:`loss_by_feat`."""
        raise NotImplementedError(
            'LLAHead.loss_by_feat_single: all levels share one assignment, call loss_by_feat'
        )

    @disable_compile
    def _view(self) -> View:
        """Return the view of the assigner under ``train_cfg``."""
        return view_for(self.assigner, self.train_cfg)

    @disable_compile
    def _grid_priors(self, cls_scores: list[Tensor], view: View) -> Priors:
        """Return the priors of all levels, the same tensors again for the same feature sizes."""
        sizes, device = [score.shape[-2:] for score in cls_scores], cls_scores[0].device
        strides = self.prior_generator.strides
        key = (*sizes, *strides, device, view.priors, view.anchor_scale, view.anchor_ratio)
        if key not in self._prior_cache:
            levels = self.prior_generator.grid_priors(sizes, device=device)
            own = get_box_tensor(cat_boxes(levels))
            num_level_priors = [len(level) for level in levels]
            stride_of = torch.cat(
                [
                    own.new_tensor(stride).expand(num, 2)
                    for stride, num in zip(strides, num_level_priors, strict=True)
                ]
            )
            if len(self._prior_cache) >= CACHE_SIZE:
                del self._prior_cache[next(iter(self._prior_cache))]
            self._prior_cache[key] = Priors(
                own, view.convert_priors(own, stride_of), num_level_priors
            )
        return self._prior_cache[key]

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        *args,
        **kwargs,
    ) -> InstanceList:
        """Convert predictions to detections; see :class:`RetinaHead`.

        Args:
            cls_scores, bbox_preds, score_factors (list[Tensor]): From :meth:`forward`; the last
                are the IoU logits.

        Raises:
            ValueError: If the IoU logits are missing, or the strides do not fit the feature maps.
        """
        if score_factors is None:
            raise ValueError(
                'LLAHead.predict_by_feat needs score_factors, the IoU logits that forward returns '
                'third'
            )
        self._check_strides(cls_scores, batch_img_metas)
        return super().predict_by_feat(
            cls_scores, bbox_preds, score_factors, batch_img_metas, *args, **kwargs
        )

    def _check_strides(self, cls_scores: list[Tensor], batch_img_metas: list[dict]) -> None:
        """Raise if the strides do not fit the sizes of the feature maps."""
        height, width = (batch_img_metas or [{}])[0].get('batch_input_shape', (None, None))
        if height is None:
            return
        for stride, score in zip(self.prior_generator.strides, cls_scores, strict=True):
            size = tuple(score.shape[-2:])
            expected = (-(-height // stride[1]), -(-width // stride[0]))
            # The next level has twice or half the size; backbones round by one.
            if any(max(n, m) > 1.5 * min(n, m) + 1 for n, m in zip(size, expected, strict=True)):
                raise ValueError(
                    f'LLAHead: anchor_generator.strides {self.prior_generator.strides} are not '
                    f'those of the feature maps: an input of {height} x {width} has {size[0]} x '
                    f'{size[1]} cells on one of them, expected {expected[0]} x {expected[1]}'
                )

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigType,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Multiply scores by IoUs, then mmdet's processing, then ``clip_detections``."""
        results.scores = results.scores * results.pop('score_factors')
        if cfg.get('sqrt_score', True):
            results.scores = results.scores.sqrt()
        if cfg.get('score_calibration'):
            results.scores = calibrate_scores(results.scores, *cfg.score_calibration)
        suppress = with_nms and not self.predicts_one_to_one and cfg.get('nms') is not None
        results = super()._bbox_post_process(results, cfg, rescale, suppress, img_meta)
        if with_nms and not suppress:
            results = results[results.scores.argsort(descending=True)[: cfg.max_per_img]]
        if with_nms and cfg.get('clip_detections', False):
            results = _clip_detections(results, img_meta['ori_shape' if rescale else 'img_shape'])
        return results


def calibrate_scores(scores: Tensor, scale: float, bias: float) -> Tensor:
    """Map scores to ``sigmoid(scale * logit(score) + bias)``; a positive scale keeps their order.

    Example:
        >>> calibrate_scores(torch.tensor([0.2, 0.5]), 1.0, 0.0)
        tensor([0.2000, 0.5000])
    """
    scores = scores.clamp(1e-6, 1 - 1e-6)
    return (scale * (scores.log() - (1 - scores).log()) + bias).sigmoid()


def _clip_detections(results: InstanceData, shape: tuple[int, ...]) -> InstanceData:
    """Clip boxes to an image of (height, width, ...) and drop those that lie outside it."""
    boxes = get_box_tensor(results.bboxes)
    boxes[:, 0::2].clamp_(0, shape[1])
    boxes[:, 1::2].clamp_(0, shape[0])
    return results[(boxes[:, 2:] > boxes[:, :2]).all(1)]


def _check_train_cfg(train_cfg: Mapping) -> None:
    """Raise if a key of ``train_cfg`` is unknown or has no effect."""
    check_names('LLAHead: train_cfg', list(train_cfg), (*TRAIN_KEYS, *RETINA_TRAIN_KEYS))
    for name, is_neutral in RETINA_TRAIN_KEYS.items():
        if name in train_cfg and not is_neutral(train_cfg[name]):
            raise ValueError(
                f'LLAHead: train_cfg.{name}={train_cfg[name]!r} is not supported, all priors take '
                'part in training with equal weights; remove it'
            )
    own = [name for name in TRAIN_KEYS if name != 'one_to_one']
    check_names('LLAHead: train_cfg.one_to_one', list(train_cfg.get('one_to_one') or {}), own)


def _check_gts(gts: GtList, num_classes: int) -> None:
    """Raise if a gt is inverted or not finite, or a label is no class of the head.

    Synchronizes with the device once.
    """
    if not len(gts.img_inds):
        return
    host = copy_to_host(bboxes=gts.bboxes, labels=gts.labels)
    found = find_gt_fault(host['bboxes'].reshape(-1, 4), host['labels'], gts, num_classes)
    if found is not None:
        raise ImageError(f'LLAHead: {found[1]}', found[0])


def _flatten_levels(preds: list[Tensor], size: int) -> Tensor:
    """Reshape (N, num_base_priors * size, H, W) per level to (N, num_priors, size)."""
    return torch.cat([pred.permute(0, 2, 3, 1).reshape(len(pred), -1, size) for pred in preds], 1)
