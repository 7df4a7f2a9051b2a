"""mmdet's heads, each given the same predictions through its own loss or target function."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmdet.models.task_modules import MlvlPointGenerator
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

HEIGHT, WIDTH, CLASSES = 128, 192, 3
STRIDES = [8, 16, 32, 64]
SIZES = [(HEIGHT // s, WIDTH // s) for s in STRIDES]
META = dict(img_shape=(HEIGHT, WIDTH), pad_shape=(HEIGHT, WIDTH), batch_input_shape=(HEIGHT, WIDTH))
TRAIN = dict(allowed_border=-1, pos_weight=-1)
ONE_ANCHOR = dict(
    type='AnchorGenerator', octave_base_scale=8, scales_per_octave=1, ratios=[1.0], strides=STRIDES
)
RETINA_ANCHORS = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=STRIDES,
)
CELLS = {**ONE_ANCHOR, 'octave_base_scale': 1}
DELTAS = dict(type='DeltaXYWHBBoxCoder')


def crowd(seed: int, num: int) -> InstanceData:
    """Return gts 8 to 200 pixels tall, some beyond the image."""
    rng = torch.Generator().manual_seed(seed)
    middle = torch.rand(num, 2, generator=rng) * torch.tensor([WIDTH, HEIGHT])
    height = 8 * 25 ** torch.rand(num, 1, generator=rng)
    half = torch.cat([0.41 * height, height], 1) / 2
    return InstanceData(
        bboxes=torch.cat([middle - half, middle + half], 1),
        labels=torch.randint(CLASSES, (num,), generator=rng),
    )


class Predictions(NamedTuple):
    """Predictions of a head for all priors of an image: boxes in pixels, and logits."""

    bboxes: torch.Tensor
    logits: torch.Tensor


def predict(gt_instances: InstanceData, priors: torch.Tensor, seed: int) -> Predictions:
    """Return predictions of which half are near a gt, as late in a training."""
    rng = torch.Generator().manual_seed(seed)
    sides = 60 * torch.rand(len(priors), 4, generator=rng) + 1
    bboxes = priors[:, [0, 1, 0, 1]] + sides * torch.tensor([-1.0, -1, 1, 1])
    if len(gt_instances):
        which = torch.randint(len(gt_instances), (len(priors),), generator=rng)
        near = gt_instances.bboxes[which]
        # By a tenth of their sides, and at most so far that x1 < x2 and y1 < y2.
        noise = 0.1 * torch.randn(len(priors), 4, generator=rng).clamp(min=-4, max=4)
        near = near + noise * (near[:, 2:] - near[:, :2]).repeat(1, 2)
        fits = torch.rand(len(priors), 1, generator=rng) < 0.5
        bboxes = torch.where(fits, near, bboxes)
    return Predictions(bboxes, 2 * torch.randn(len(priors), CLASSES, generator=rng) - 2)


def to_levels(values: torch.Tensor) -> list[torch.Tensor]:
    """Split (num_priors, c) into levels of (1, c, h, w)."""
    parts = values.split([h * w for h, w in SIZES])
    return [part.T.reshape(1, -1, h, w) for part, (h, w) in zip(parts, SIZES, strict=True)]


def build(kind: str, **kwargs):
    """Build a head for all classes."""
    return MODELS.build(dict(type=kind, num_classes=CLASSES, **kwargs))


@contextmanager
def spied(assigner: BaseAssigner):
    """Record the arguments and the result of every call of an assigner."""
    calls, assign = [], assigner.assign

    def noting(*args, **kwargs):
        calls.append((args, kwargs, assign(*args, **kwargs)))
        return calls[-1][-1]

    assigner.assign = noting
    yield calls
    del assigner.assign


# Each takes an assigner's config, predictions, and lists of boxes, meta information and ignore
# boxes an image; gives the assigner and what makes the head call it.


def at_yolox(assigner, preds, *images):
    head = build(
        'YOLOXHead',
        in_channels=8,
        feat_channels=8,
        strides=STRIDES,
        train_cfg=ConfigDict(assigner=assigner),
    )
    corner = torch.cat(
        MlvlPointGenerator(STRIDES, offset=0).grid_priors(SIZES, device='cpu', with_stride=True)
    )
    size = preds.bboxes[:, 2:] - preds.bboxes[:, :2]
    middle = preds.bboxes[:, :2] + size / 2
    raw = torch.cat([(middle - corner[:, :2]) / corner[:, 2:], (size / corner[:, 2:]).log()], 1)
    levels = to_levels(preds.logits), to_levels(raw), to_levels(preds.logits.sum(1, True))
    return head.assigner, lambda: head.loss_by_feat(*levels, *images)


def at_rtmdet(assigner, preds, *images):
    head = build(
        'RTMDetSepBNHead',
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=STRIDES),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        with_objectness=False,
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss'),
        train_cfg=ConfigDict(assigner=assigner, **TRAIN),
    )
    points = torch.cat(head.prior_generator.grid_priors(SIZES, device='cpu'))
    sides = torch.cat([points - preds.bboxes[:, :2], preds.bboxes[:, 2:] - points], 1)
    levels = to_levels(preds.logits), to_levels(sides)
    return head.assigner, lambda: head.loss_by_feat(*levels, *images)


def at_tood(assigner, preds, *images):
    head = build(
        'TOODHead',
        in_channels=96,
        feat_channels=96,
        stacked_convs=1,
        anchor_generator=ONE_ANCHOR,
        bbox_coder=DELTAS,
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, activated=True),
        loss_bbox=dict(type='GIoULoss'),
        train_cfg=ConfigDict(
            assigner=assigner,
            initial_assigner=dict(type='ATSSAssigner', topk=9),
            initial_epoch=0,
            alpha=1,
            beta=6,
            **TRAIN,
        ),
    )
    MessageHub.get_current_instance().update_info('epoch', 0)
    boxes = [level / stride for level, stride in zip(to_levels(preds.bboxes), STRIDES, strict=True)]
    levels = to_levels(preds.logits.sigmoid()), boxes
    return head.alignment_assigner, lambda: head.loss_by_feat(*levels, *images)


def at_ddod(assigner, preds, *images):
    head = build(
        'DDODHead',
        in_channels=32,
        feat_channels=32,
        use_dcn=False,
        anchor_generator=ONE_ANCHOR,
        bbox_coder=DELTAS,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss'),
        train_cfg=ConfigDict(assigner=assigner, reg_assigner=assigner, **TRAIN),
    )
    anchors = torch.cat(head.prior_generator.grid_priors(SIZES, device='cpu'))
    deltas = head.bbox_coder.encode(anchors, preds.bboxes)
    levels = [to_levels(one) for one in (preds.logits, deltas, preds.logits.sum(1, True))]
    return head.cls_assigner, lambda: head.loss_by_feat(*levels, *images)


def at_anchor_head(kind: str, generator: dict, **kwargs) -> Callable:
    """RetinaHead, ATSSHead and FSAFHead, which pass only anchors to the assigner."""

    def at(assigner, preds, gt_instances, metas, ignored):
        head = MODELS.build(
            dict(
                type=kind,
                num_classes=CLASSES,
                in_channels=32,
                feat_channels=32,
                stacked_convs=1,
                anchor_generator=generator,
                bbox_coder=DELTAS,
                train_cfg=ConfigDict(assigner=assigner, **TRAIN),
                **kwargs,
            )
        )
        anchors = head.get_anchors(SIZES, metas, device='cpu')
        return head.assigner, lambda: head.get_targets(*anchors, gt_instances, metas, ignored)

    return at


def at_reppoints(assigner, preds, gt_instances, metas, ignored):
    head = build(
        'RepPointsHead',
        in_channels=32,
        feat_channels=32,
        point_feat_channels=32,
        point_strides=STRIDES,
        train_cfg=ConfigDict(
            init=dict(assigner=assigner, pos_weight=-1),
            refine=dict(assigner=assigner, pos_weight=-1),
        ),
    )
    points = head.get_points(SIZES, metas, device='cpu')
    return head.init_assigner, lambda: head.get_targets(*points, gt_instances, metas, ignored)


def at_deformable_detr(assigner, preds, gt_instances, metas, ignored):
    head = build(
        'DeformableDETRHead',
        embed_dims=8,
        num_pred_layer=1,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        train_cfg=ConfigDict(assigner=assigner),
    )
    size = preds.bboxes[:, 2:] - preds.bboxes[:, :2]
    whole = torch.tensor([WIDTH, HEIGHT] * 2)
    normed = torch.cat([preds.bboxes[:, :2] + size / 2, size], 1) / whole
    return head.assigner, lambda: head.get_targets([preds.logits], [normed], gt_instances, metas)
