"""LLAHead: RetinaHead with an IoU branch, trained on what an assigner makes of its predictions."""

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

from ..assigners.instances import BoxList, PictureError, find_box_fault, read_boxes, to_host
from ..assigners.lla_assigner import LLAAssigner
from ..assigners.views import View, view_for
from .one_to_one import OneToOneBranch
from .targets import find_positive, label_priors, naming_pictures


class Priors(NamedTuple):
    """Priors of all levels.

    Attributes:
        own (Tensor): As the box coder reads them: points (n, 2) or anchor boxes (n, 4).
        handed (Tensor): As the assigner wants them, see :class:`View`.
        level_sizes (list[int]): Priors a level.
    """

    own: Tensor
    handed: Tensor
    level_sizes: list[int]


class Targets(NamedTuple):
    """What the predictions of a batch are to become; p of its N * n priors are positive.

    Attributes:
        positive (Tensor): Index of the positive priors among those of all pictures, (p,).
        labels (Tensor): Class of each prior, ``num_classes`` for background, (N * n,).
        label_weights (Tensor): Weights of the class loss, (N * n,), or (N * n, num_classes) where
            the assigner ignores priors class by class.
        bboxes (Tensor): Boxes that positive priors went to, ``x1 y1 x2 y2`` in pixels, (p, 4).
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

    It takes two forms by config alone:

    - points (LLA.FCOS of the paper, the default): ``MlvlPointGenerator`` and
      ``DistancePointBBoxCoder``; the box branch gives distances ``relu(scale * pred) * stride``
      to the four sides, in pixels;
    - anchor boxes (LLA.RetinaNet): ``AnchorGenerator`` and ``DeltaXYWHBBoxCoder``; the box branch
      gives ``scale * pred`` as deltas.

    It trains under any assigner, ``train_cfg.assigner``, that says what it wants to be handed;
    see :class:`View`. LLA's and mmdet's are known, ``train_cfg.assigner_view`` changes or adds to
    what is known. Every prior of the batch's grid takes part, also those whose anchor box leaves
    the picture and those in a smaller picture's padding.

    What becomes of ignore boxes is the assigner's own matter, or that of ``train_cfg.ignore``,
    one switch for all assigners with the meaning of :class:`LLAAssigner`'s: 'compete', 'overlap'
    or 'unused'.

    Args:
        num_classes (int): Number of classes without the background.
        in_channels (int): Channels of the feature maps.
        norm_cfg (dict, optional): Norm of the towers. Defaults to GN with 32 groups.
        conv_bias (bool | str): Bias of the towers' convolutions: 'auto' gives them one if they
            have no norm, True always (as the reference). Defaults to 'auto'.
        loss_iou (dict): Loss of the IoU branch against the IoU of prediction and box. Defaults
            to binary cross entropy of weight 0.5.
        test_cfg (dict, optional): mmdet's keys, and ``clip_detections``: whether what NMS and
            ``max_per_img`` leave is clipped to the picture, and dropped if nothing of it lies
            inside. With ``clip_border=False`` in the box coder and ``min_bbox_size=-1``, which do
            the same before NMS, it makes the detections those of the reference. Defaults to
            False.
            ``sqrt_score``: whether scores are ``sqrt(cls * iou)``, as the reference has them, or
            ``cls * iou``, which ranks the same but lies lower. Defaults to True.
            ``nms=None``: detections are the ``max_per_img`` of highest score as they are. With a
            one-to-one branch, ``one_to_one``: whether that predicts, without NMS, or the head's
            own branches do, with it; defaults to True.
        one_to_one (dict, optional): A branch that says everybody once, see
            :class:`OneToOneBranch`: ``stacked_convs``, ``detach`` and ``loss_weight``; what trains
            it is ``train_cfg.one_to_one``. Its boxes and IoUs are the head's. Defaults to None.
        kwargs: See :class:`RetinaHead`. Boxes are always regressed decoded.

    Raises:
        ValueError: If prior generator and box coder do not go together, an argument is out of
            its range, or it is not known what the assigner wants to be handed.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        norm_cfg: OptConfigType = dict(type='GN', num_groups=32, requires_grad=True),
        conv_bias='auto',
        anchor_generator: ConfigType = dict(
            type='MlvlPointGenerator', offset=0, strides=[8, 16, 32, 64, 128]
        ),
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
        self.conv_bias = conv_bias
        self._one_to_one_cfg = one_to_one
        super().__init__(
            num_classes,
            in_channels,
            norm_cfg=norm_cfg,
            anchor_generator=anchor_generator,
            bbox_coder=bbox_coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            **kwargs,
        )
        self.loss_iou = MODELS.build(loss_iou)
        self._priors: dict[str, tuple] = {}  # by view
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
        """Whether what :meth:`forward` gives needs NMS, as ``test_cfg`` stands."""
        return not self.predicts_one_to_one and (self.test_cfg or {}).get('nms') is not None

    def forward(
        self, x: tuple[Tensor, ...], both: bool = False
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predictions of every level.

        Args:
            x (tuple[Tensor]): Feature maps, each (N, in_channels, H, W).
            both (bool): Whether class logits of both branches are wanted, which training needs.
                Defaults to False.

        Returns:
            tuple[list[Tensor]]: Per level: class logits (N, num_base_priors * num_classes, H, W),
            those of the one-to-one branch if it predicts; box predictions (N, num_base_priors * 4,
            H, W) as the box coder reads them, and IoU logits (N, num_base_priors, H, W). If
            ``both``, the head's own class logits come first and those of the one-to-one branch
            fourth.

        Raises:
            ValueError: If there are not as many feature maps as strides.
        """
        strides = self.prior_generator.strides
        if len(x) != len(strides):
            raise ValueError(
                f'LLAHead: got {len(x)} feature maps, but anchor_generator has {len(strides)} '
                f'strides, {strides}; expected one feature map a stride'
            )
        outs = [self.forward_single(*level) for level in zip(x, self.scales, strides, strict=True)]
        cls_scores, *others, one_to_one = map(list, zip(*outs, strict=True))
        if both:
            return cls_scores, *others, one_to_one
        return one_to_one if self.predicts_one_to_one else cls_scores, *others

    def forward_single(
        self, x: Tensor, scale: Scale, stride: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Predictions of one level, the one-to-one branch's class logits last, or None.

        Args:
            x (Tensor): Feature map, (N, in_channels, H, W).
            scale (:obj:`Scale`): Learnt factor of the level's box predictions.
            stride (tuple[int, int]): Stride of the level in x and y, in pixels.
        """
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        # Pixels leave the range and the resolution of half precision behind.
        bbox_pred = scale(self.retina_reg(reg_feat)).float()
        if self.with_points:
            # Of square strides one number is enough, which needs no copying to the device.
            factor = stride[0]
            if stride[0] != stride[1]:
                factor = bbox_pred.new_tensor(stride * 2).view(1, 4, 1, 1)
            bbox_pred = bbox_pred.relu() * factor
        cls_score = self.retina_cls(cls_feat)
        one_to_one = None if self.one_to_one is None else self.one_to_one(reg_feat, cls_score)
        return cls_score, bbox_pred, self.retina_iou(reg_feat), one_to_one

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch; see :meth:`loss_by_feat`.

        Args:
            x (tuple[Tensor]): Feature maps, each (N, in_channels, H, W).
            batch_data_samples (list[:obj:`DetDataSample`]): ``gt_instances``, ``ignored_instances``
                and meta information a picture.

        Returns:
            dict[str, Tensor]: As :meth:`loss_by_feat` gives it, and ``loss_one_to_one`` with a
            one-to-one branch.
        """
        if self.one_to_one is None:
            return super().loss(x, batch_data_samples)
        batch_gt_instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        *outs, one_to_one = self(x, both=True)
        losses = self.loss_by_feat(*outs, batch_gt_instances, metas, ignored)
        priors = self._grid_priors(one_to_one, self.one_to_one.view())
        bboxes = self._decode(priors, outs[1]).detach()
        with naming_pictures(metas):
            losses['loss_one_to_one'] = self.one_to_one.loss(
                self.loss_cls,
                _flatten_levels(one_to_one, self.cls_out_channels),
                bboxes,
                priors.handed,
                priors.level_sizes,
                batch_gt_instances,
                metas,
                ignored,
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
        """Losses of a batch.

        All three share one divisor: the priors that went to a box, mean over the processes, at
        least 1; with LLA, as in its reference, those that went to an ignore box count too. Priors
        that the assigner marks as ignored take no part in any loss.

        Args:
            cls_scores, bbox_preds, iou_preds (list[Tensor]): As :meth:`forward` gives them.
            batch_gt_instances (list[:obj:`InstanceData`]): ``bboxes`` and ``labels`` a picture.
            batch_img_metas (list[dict]): Meta information a picture.
            batch_gt_instances_ignore (list[:obj:`InstanceData`], optional): ``bboxes`` a picture.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_iou``, scalars.

        Raises:
            ValueError: If a true box is inverted or not finite, a label is no class of the head,
                or what else the assigner says of the values, with the picture; or if the strides
                are those of other levels than the feature maps.
        """
        self._check_strides(cls_scores, batch_img_metas)
        view = self._view()
        priors = self._grid_priors(cls_scores, view)
        scores = _flatten_levels(cls_scores, self.cls_out_channels)
        bboxes, ious = self._decode(priors, bbox_preds), _flatten_levels(iou_preds, 1)
        with naming_pictures(batch_img_metas):
            targets = self._get_targets(
                scores.detach().float(),
                bboxes.detach(),
                batch_gt_instances,
                batch_gt_instances_ignore,
                batch_img_metas,
                priors,
                view,
            )
        return self._losses(scores.flatten(0, 1), bboxes.flatten(0, 1), ious.flatten(), targets)

    def _decode(self, priors: Priors, bbox_preds: list[Tensor]) -> Tensor:
        """Predicted boxes of a batch, ``x1 y1 x2 y2`` in pixels, (N, n, 4)."""
        preds = _flatten_levels(bbox_preds, 4).float()
        own = priors.own.expand(len(preds), -1, -1).flatten(0, 1)
        bboxes = self.bbox_coder.decode(own, preds.flatten(0, 1))
        return get_box_tensor(bboxes).view_as(preds)

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
        """Targets of a batch, from class logits (N, n, C) and decoded boxes (N, n, 4)."""
        boxes = read_boxes(batch_gt_instances, who='LLAHead')
        if not isinstance(self.assigner, LLAAssigner):  # which looks itself, without waiting
            _check_instances(boxes, self.num_classes)
        assigned = view.assign_batch(
            self.assigner,
            priors.handed,
            priors.level_sizes,
            bboxes,
            scores,
            batch_gt_instances,
            batch_gt_instances_ignore,
            batch_img_metas,
        )
        gt_inds = assigned.gt_inds
        positive, box = find_positive(gt_inds, boxes)
        labels = label_priors(gt_inds, positive, box, boxes, self.num_classes)
        label_weights = (gt_inds >= 0).to(bboxes.dtype).flatten()
        if assigned.shadowed is not None:
            label_weights = label_weights.unsqueeze(1).repeat(1, self.num_classes)
            label_weights[assigned.shadowed.unbind(1)] = 0
        bbox_targets = torch.cat(boxes.bboxes)[box]
        if view.gives_iou:
            ious = assigned.max_overlaps.flatten()[positive]
        else:
            ious = bbox_overlaps(bboxes.flatten(0, 1)[positive], bbox_targets, is_aligned=True)
        counted = gt_inds != 0 if view.counts_ignored else gt_inds > 0
        return Targets(positive, labels, label_weights, bbox_targets, ious, counted.sum())

    def _losses(
        self, scores: Tensor, bboxes: Tensor, ious: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        """Losses of class logits (N * n, C), decoded boxes (N * n, 4) and IoU logits (N * n,)."""
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

    def _view(self) -> View:
        """What the assigner wants to be handed."""
        return view_for(self.assigner, self.train_cfg)

    def _grid_priors(self, cls_scores: list[Tensor], view: View) -> Priors:
        """Priors of all levels, the same tensors again while sizes and device stay the same."""
        key = ([score.shape[-2:] for score in cls_scores], cls_scores[0].device)
        name = repr(view)
        if self._priors.get(name, (None,))[0] != key:
            levels = self.prior_generator.grid_priors(key[0], device=key[1])
            own = get_box_tensor(cat_boxes(levels))
            sizes = [len(level) for level in levels]
            strides = torch.cat(
                [
                    own.new_tensor(stride).expand(size, 2)
                    for stride, size in zip(self.prior_generator.strides, sizes, strict=True)
                ]
            )
            self._priors[name] = (key, Priors(own, view.of_priors(own, strides), sizes))
        return self._priors[name][1]

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        *args,
        **kwargs,
    ) -> InstanceList:
        """Detections of a batch; see :class:`RetinaHead`.

        Raises:
            ValueError: If the strides are not those of the feature maps.
        """
        self._check_strides(cls_scores, batch_img_metas)
        return super().predict_by_feat(
            cls_scores, bbox_preds, score_factors, batch_img_metas, *args, **kwargs
        )

    def _check_strides(self, cls_scores: list[Tensor], batch_img_metas: list[dict]) -> None:
        """Raise if the strides are those of other levels than the batch's feature maps."""
        height, width = batch_img_metas[0].get('batch_input_shape', (None, None))
        if height is None:
            return
        for stride, score in zip(self.prior_generator.strides, cls_scores, strict=True):
            size = tuple(score.shape[-2:])
            expected = (-(-height // stride[1]), -(-width // stride[0]))
            # The next level's are twice as many or half; backbones round by one.
            if any(max(n, m) > 1.5 * min(n, m) + 1 for n, m in zip(size, expected, strict=True)):
                raise ValueError(
                    f'LLAHead: anchor_generator.strides {self.prior_generator.strides} are not '
                    f'those of the feature maps: an input of {height} x {width} has {size[0]} x '
                    f'{size[1]} places on one of them, expected {expected[0]} x {expected[1]}'
                )

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigType,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """mmdet's; before it scores become ``sqrt(cls * iou)``, after it ``clip_detections``."""
        results.scores = results.scores * results.pop('score_factors')
        if cfg.get('sqrt_score', True):
            results.scores = results.scores.sqrt()
        suppress = with_nms and not self.predicts_one_to_one and cfg.get('nms') is not None
        results = super()._bbox_post_process(results, cfg, rescale, suppress, img_meta)
        if with_nms and not suppress:
            results = results[results.scores.argsort(descending=True)[: cfg.max_per_img]]
        if with_nms and cfg.get('clip_detections', False):
            results = _clip_detections(results, img_meta['ori_shape' if rescale else 'img_shape'])
        return results


def _clip_detections(results: InstanceData, shape: tuple[int, ...]) -> InstanceData:
    """Clip boxes to a picture of (height, width, ...) and drop those that lie outside it."""
    boxes = get_box_tensor(results.bboxes)
    boxes[:, 0::2].clamp_(0, shape[1])
    boxes[:, 1::2].clamp_(0, shape[0])
    return results[(boxes[:, 2:] > boxes[:, :2]).all(1)]


def _check_instances(boxes: BoxList, num_classes: int) -> None:
    """Raise if a true box is inverted or not finite, or a label is no class of the head.

    The host waits for the device once.
    """
    if not len(boxes.picture):
        return
    bboxes, labels = to_host(torch.cat(boxes.bboxes), torch.cat(boxes.labels))
    found = find_box_fault(
        bboxes.reshape(-1, 4), labels, boxes.picture, boxes.number > 0, num_classes
    )
    if found is not None:
        raise PictureError(f'LLAHead: {found[1]}', found[0])


def _flatten_levels(preds: list[Tensor], size: int) -> Tensor:
    """(N, num_base_priors * size, H, W) per level to (N, num_priors, size)."""
    return torch.cat([pred.permute(0, 2, 3, 1).reshape(len(pred), -1, size) for pred in preds], 1)
