"""Each assigner under LLAHead decides as it does under its home head, on the same inputs."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator, MlvlPointGenerator
from mmdet.models.task_modules.assigners import (
    ApproxMaxIoUAssigner,
    AssignResult,
    ATSSAssigner,
    BaseAssigner,
    MaxIoUAssigner,
    SimOTAAssigner,
)
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner
from mmdet_lla.assigners import View
from mmdet_lla.assigners.views import view_of

HEIGHT, WIDTH, CLASSES = 128, 192, 3
STRIDES = [8, 16, 32, 64]
SIZES = [(HEIGHT // s, WIDTH // s) for s in STRIDES]
META = dict(img_shape=(HEIGHT, WIDTH), pad_shape=(HEIGHT, WIDTH), batch_input_shape=(HEIGHT, WIDTH))
TRAIN = dict(allowed_border=-1, pos_weight=-1)
ONE_ANCHOR = dict(
    type='AnchorGenerator', octave_base_scale=8, scales_per_octave=1, ratios=[1.0],
    strides=STRIDES)
RETINA_ANCHORS = dict(
    type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1.0, 2.0],
    strides=STRIDES)
CELLS = {**ONE_ANCHOR, 'octave_base_scale': 1}
DELTAS = dict(type='DeltaXYWHBBoxCoder')


def crowd(seed: int, num: int) -> InstanceData:
    """Boxes of people 8 to 200 pixels tall, some beyond the picture."""
    rng = torch.Generator().manual_seed(seed)
    middle = torch.rand(num, 2, generator=rng) * torch.tensor([WIDTH, HEIGHT])
    height = 8 * 25 ** torch.rand(num, 1, generator=rng)
    half = torch.cat([0.41 * height, height], 1) / 2
    return InstanceData(bboxes=torch.cat([middle - half, middle + half], 1),
                        labels=torch.randint(CLASSES, (num, ), generator=rng))


class Predictions(NamedTuple):
    """What a head predicts of all priors of a picture: boxes in pixels, and logits."""

    bboxes: torch.Tensor
    logits: torch.Tensor


def predict(gt_instances: InstanceData, priors: torch.Tensor, seed: int) -> Predictions:
    """Half of the boxes near one of the people, as late in a training."""
    rng = torch.Generator().manual_seed(seed)
    sides = 60 * torch.rand(len(priors), 4, generator=rng) + 1
    bboxes = priors[:, [0, 1, 0, 1]] + sides * torch.tensor([-1., -1, 1, 1])
    if len(gt_instances):
        which = torch.randint(len(gt_instances), (len(priors), ), generator=rng)
        near = gt_instances.bboxes[which]
        # By a tenth of their sides, and at most so far that x1 < x2 and y1 < y2.
        noise = 0.1 * torch.randn(len(priors), 4, generator=rng).clamp(min=-4, max=4)
        near = near + noise * (near[:, 2:] - near[:, :2]).repeat(1, 2)
        fits = torch.rand(len(priors), 1, generator=rng) < 0.5
        bboxes = torch.where(fits, near, bboxes)
    return Predictions(bboxes, 2 * torch.randn(len(priors), CLASSES, generator=rng) - 2)


def to_levels(values: torch.Tensor) -> list[torch.Tensor]:
    """(n, c) of one prior a place to (1, c, h, w) a level."""
    parts = values.split([h * w for h, w in SIZES])
    return [part.T.reshape(1, -1, h, w) for part, (h, w) in zip(parts, SIZES)]


@contextmanager
def spied(assigner: BaseAssigner):
    """Notes what the assigner is handed, by position or keyword, and what it decides."""
    calls, assign = [], assigner.assign

    def noting(*args, **kwargs):
        calls.append((args, kwargs, assign(*args, **kwargs)))
        return calls[-1][-1]

    assigner.assign = noting
    yield calls
    del assigner.assign


# Each home head is given the same predictions through its own loss or target function.

def at_yolox(assigner, preds, *pictures):
    head = MODELS.build(dict(
        type='YOLOXHead', num_classes=CLASSES, in_channels=8, feat_channels=8, strides=STRIDES,
        train_cfg=ConfigDict(assigner=assigner)))
    corner = torch.cat(MlvlPointGenerator(STRIDES, offset=0).grid_priors(
        SIZES, device='cpu', with_stride=True))
    size = preds.bboxes[:, 2:] - preds.bboxes[:, :2]
    middle = preds.bboxes[:, :2] + size / 2
    raw = torch.cat([(middle - corner[:, :2]) / corner[:, 2:], (size / corner[:, 2:]).log()], 1)
    levels = to_levels(preds.logits), to_levels(raw), to_levels(preds.logits.sum(1, True))
    return head.assigner, lambda: head.loss_by_feat(*levels, *pictures)


def at_rtmdet(assigner, preds, *pictures):
    head = MODELS.build(dict(
        type='RTMDetSepBNHead', num_classes=CLASSES, in_channels=8, feat_channels=8,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=STRIDES),
        bbox_coder=dict(type='DistancePointBBoxCoder'), with_objectness=False,
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss'), train_cfg=ConfigDict(assigner=assigner, **TRAIN)))
    points = torch.cat(head.prior_generator.grid_priors(SIZES, device='cpu'))
    sides = torch.cat([points - preds.bboxes[:, :2], preds.bboxes[:, 2:] - points], 1)
    levels = to_levels(preds.logits), to_levels(sides)
    return head.assigner, lambda: head.loss_by_feat(*levels, *pictures)


def at_tood(assigner, preds, *pictures):
    head = MODELS.build(dict(
        type='TOODHead', num_classes=CLASSES, in_channels=96, feat_channels=96, stacked_convs=1,
        anchor_generator=ONE_ANCHOR, bbox_coder=DELTAS,
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, activated=True),
        loss_bbox=dict(type='GIoULoss'), train_cfg=ConfigDict(
            assigner=assigner, initial_assigner=dict(type='ATSSAssigner', topk=9),
            initial_epoch=0, alpha=1, beta=6, **TRAIN)))
    MessageHub.get_current_instance().update_info('epoch', 0)
    boxes = [level / stride for level, stride in zip(to_levels(preds.bboxes), STRIDES)]
    levels = to_levels(preds.logits.sigmoid()), boxes
    return head.alignment_assigner, lambda: head.loss_by_feat(*levels, *pictures)


def at_anchor_head(kind: str, generator: dict, **kwargs) -> Callable:
    """RetinaHead, ATSSHead and FSAFHead, which hand over anchors alone."""

    def at(assigner, preds, gt_instances, metas, ignored):
        head = MODELS.build(dict(
            type=kind, num_classes=CLASSES, in_channels=32, feat_channels=32, stacked_convs=1,
            anchor_generator=generator, bbox_coder=DELTAS,
            train_cfg=ConfigDict(assigner=assigner, **TRAIN), **kwargs))
        anchors = head.get_anchors(SIZES, metas, device='cpu')
        return head.assigner, lambda: head.get_targets(
            *anchors, gt_instances, metas, ignored)

    return at


def at_reppoints(assigner, preds, gt_instances, metas, ignored):
    head = MODELS.build(dict(
        type='RepPointsHead', num_classes=CLASSES, in_channels=32, feat_channels=32,
        point_feat_channels=32, point_strides=STRIDES,
        train_cfg=ConfigDict(init=dict(assigner=assigner, pos_weight=-1),
                             refine=dict(assigner=assigner, pos_weight=-1))))
    points = head.get_points(SIZES, metas, device='cpu')
    return head.init_assigner, lambda: head.get_targets(*points, gt_instances, metas, ignored)


def at_deformable_detr(assigner, preds, gt_instances, metas, ignored):
    head = MODELS.build(dict(
        type='DeformableDETRHead', num_classes=CLASSES, embed_dims=8, num_pred_layer=1,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True), train_cfg=ConfigDict(assigner=assigner)))
    size = preds.bboxes[:, 2:] - preds.bboxes[:, :2]
    whole = torch.tensor([WIDTH, HEIGHT] * 2)
    normed = torch.cat([preds.bboxes[:, :2] + size / 2, size], 1) / whole
    return head.assigner, lambda: head.get_targets([preds.logits], [normed], gt_instances, metas)


class Case(NamedTuple):
    """An assigner at home, and the form of LLAHead that has the same priors."""

    assigner: dict
    home: Callable
    form: dict = {}


MAX_IOU = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
HUNGARIAN = dict(type='HungarianAssigner', match_costs=[
    dict(type='FocalLossCost', weight=2.0),
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='IoUCost', iou_mode='giou', weight=2.0)])
CENTER = dict(type='CenterRegionAssigner', pos_scale=0.2, neg_scale=0.4)
ATSS = dict(type='ATSSAssigner', topk=9)
CELL_CENTRES = dict(anchor_generator=dict(
    type='MlvlPointGenerator', offset=0.5, strides=STRIDES))


def anchors(generator: dict) -> dict:
    return dict(anchor_generator=generator, bbox_coder=DELTAS)


TOP, FSAF = dict(loss_bbox=dict(type='GIoULoss')), dict(reg_decoded_bbox=True)
CASES = {
    'SimOTA, points': Case(dict(type='SimOTAAssigner'), at_yolox, CELL_CENTRES),
    'SimOTA, anchors': Case(
        dict(type='SimOTAAssigner'), at_yolox,
        anchors({**ONE_ANCHOR, 'center_offset': 0.5})),
    'DynamicSoftLabel, points': Case(dict(type='DynamicSoftLabelAssigner'), at_rtmdet),
    'DynamicSoftLabel, anchors': Case(
        dict(type='DynamicSoftLabelAssigner'), at_rtmdet, anchors(ONE_ANCHOR)),
    'TaskAligned, points': Case(dict(type='TaskAlignedAssigner', topk=13), at_tood),
    'TaskAligned, anchors': Case(
        dict(type='TaskAlignedAssigner', topk=13), at_tood, anchors(ONE_ANCHOR)),
    'MaxIoU, points': Case(MAX_IOU, at_anchor_head('RetinaHead', ONE_ANCHOR)),
    'MaxIoU, anchors': Case(
        MAX_IOU, at_anchor_head('RetinaHead', RETINA_ANCHORS), anchors(RETINA_ANCHORS)),
    'MaxIoU with ignore boxes': Case(
        {**MAX_IOU, 'ignore_iof_thr': 0.5}, at_anchor_head('RetinaHead', ONE_ANCHOR)),
    'ATSS, points': Case(ATSS, at_anchor_head('ATSSHead', ONE_ANCHOR, **TOP)),
    'ATSS, anchors': Case(
        ATSS, at_anchor_head('ATSSHead', RETINA_ANCHORS, **TOP), anchors(RETINA_ANCHORS)),
    'ATSS with ignore boxes': Case(
        {**ATSS, 'ignore_iof_thr': 0.5}, at_anchor_head('ATSSHead', ONE_ANCHOR, **TOP)),
    'CenterRegion, points': Case(CENTER, at_anchor_head('FSAFHead', CELLS, **FSAF)),
    'CenterRegion, anchors': Case(
        CENTER, at_anchor_head('FSAFHead', CELLS, **FSAF), anchors(CELLS)),
    'Point, points': Case(dict(type='PointAssigner', pos_num=3), at_reppoints),
    'Point, anchors': Case(
        dict(type='PointAssigner', pos_num=3), at_reppoints, anchors(ONE_ANCHOR)),
    'Hungarian, points': Case(HUNGARIAN, at_deformable_detr),
    'Hungarian, anchors': Case(HUNGARIAN, at_deformable_detr, anchors(ONE_ANCHOR)),
}


def build_head(assigner: dict, **kwargs):
    cfg = dict(type='LLAHead', num_classes=CLASSES, in_channels=32, feat_channels=32,
               stacked_convs=1, anchor_generator=dict(
                   type='MlvlPointGenerator', offset=0, strides=STRIDES),
               train_cfg=ConfigDict(assigner=assigner))
    return MODELS.build({**cfg, **kwargs})


@pytest.mark.parametrize('seed, num, num_ignored', [
    (0, 0, 0), (1, 1, 0), (2, 30, 0), (3, 30, 6), (4, 70, 6), (5, 0, 6)])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_decides_as_at_home(case, seed, num, num_ignored):
    gt_instances, ignored = crowd(seed, num), crowd(100 + seed, num_ignored)
    head = build_head(case.assigner, **case.form)
    view = head._view()
    priors = head._grid_priors([torch.zeros(1, 1, *size) for size in SIZES], view)
    preds = predict(gt_instances, priors.own, seed)
    assigner, run = case.home(case.assigner, preds, [gt_instances], [META], [ignored])
    with spied(assigner) as at_home:
        run()
    bboxes, logits = preds
    if case.home is at_yolox and num == 0:
        assert not at_home  # it calls nobody for a picture without boxes
    else:
        (args, kwargs, theirs), *_ = at_home
        at_home = args[0] if args else kwargs['pred_instances']
        if 'bboxes' in at_home:  # what they decoded, to the last bit
            torch.testing.assert_close(at_home.bboxes, bboxes, rtol=1e-4, atol=1e-3)
            bboxes = at_home.bboxes
        if case.home is at_yolox:  # its probabilities hold the objectness, too
            logits = at_home.scores.double().logit().float()

    def ours(ignored):
        with spied(head.assigner) as calls:
            head._get_targets_single(logits, bboxes, gt_instances, ignored, META, priors, view)
        (pred_instances, ), _, result = calls[0]
        return pred_instances, result.gt_inds

    handed, gt_inds = ours(ignored)
    if case.home is at_yolox and num == 0:
        assert not gt_inds.any()
        return
    if case.home is not at_deformable_detr:  # which has no priors
        assert set(handed.keys()) == set(at_home.keys())
        torch.testing.assert_close(handed.priors, at_home.priors, rtol=0, atol=0)
    assert torch.equal(gt_inds, theirs.gt_inds)
    if num >= 30:
        assert gt_inds.unique().numel() > 10
        if 'ignore_iof_thr' in case.assigner and num_ignored:
            assert not torch.equal(gt_inds, ours(None)[1])


@pytest.mark.parametrize('offset', [0, 0.5])
@pytest.mark.parametrize('scale, ratio', [(8, 1), (1, 1), (4, 2.4)])
def test_boxes_around_points_are_an_anchor_generators(offset, scale, ratio):
    points = torch.cat(MlvlPointGenerator(STRIDES, offset).grid_priors(SIZES, device='cpu'))
    strides = torch.cat([torch.full((h * w, 2), float(s)) for s, (h, w) in zip(STRIDES, SIZES)])
    view = View('boxes', anchor_scale=scale, anchor_ratio=ratio)
    anchors = AnchorGenerator(STRIDES, [ratio], scales=[scale], center_offset=offset)
    torch.testing.assert_close(
        view.of_priors(points, strides), torch.cat(anchors.grid_priors(SIZES, device='cpu')),
        rtol=0, atol=0 if ratio == 1 else 1e-4)


def test_points_of_boxes_are_centres_with_their_levels_strides():
    own, strides = torch.tensor([[-4., 0, 12, 4], [8, 8, 8, 8]]), torch.tensor([[8., 4], [16, 16]])
    centres = torch.tensor([[4., 2], [8, 8]])
    assert torch.equal(View('points').of_priors(own, strides), centres)
    strided = View('strided points').of_priors(own, strides)
    assert torch.equal(strided, torch.cat([centres, strides], 1))
    assert View('boxes', anchor_scale=3).of_priors(own, strides) is own
    for view in (View('own'), View('points')):
        assert view.of_priors(centres, strides) is centres


@TASK_UTILS.register_module()
class EveryPriorInTheMiddle(BaseAssigner):
    """A user's own: takes what it is handed, and gives all to the first box."""

    def assign(self, pred_instances, gt_instances, gt_instances_ignore=None, **kwargs):
        self.handed = pred_instances, kwargs
        gt_inds = torch.full((len(pred_instances), ), int(len(gt_instances) > 0))
        return AssignResult(len(gt_instances), gt_inds, None, None)


@TASK_UTILS.register_module()
class SaysSo(EveryPriorInTheMiddle):
    wants = View('points', 'probs', levels=True, img_meta=True, kwargs=dict(sharpness=2))


class Inherits(SaysSo):
    pass


class OtherScores(SimOTAAssigner):
    wants = View('boxes', 'logits')


class MoreOfMaxIoU(MaxIoUAssigner):
    pass


def test_an_unknown_assigner_is_told_how_to_declare_itself():
    with pytest.raises(ValueError, match=(
            r"EveryPriorInTheMiddle wants.*class, wants = .*View\(.*config, train_cfg = "
            r".*assigner_view=dict\(priors=")):
        build_head(dict(type='EveryPriorInTheMiddle'))
    with pytest.raises(ValueError, match='what ApproxMaxIoUAssigner wants'):
        view_of(ApproxMaxIoUAssigner(0.5, 0.5))


@pytest.mark.parametrize('cfg, view', [
    (dict(assigner=dict(type='SaysSo')), SaysSo.wants),
    (dict(assigner=dict(type='SaysSo'), assigner_view=dict(scores='logits', img_meta=False)),
     View('points', 'logits', levels=True, kwargs=dict(sharpness=2))),
    (dict(assigner=dict(type='EveryPriorInTheMiddle'), assigner_view=dict(
        priors='strided points')), View('strided points')),
])
@pytest.mark.parametrize('form', [{}, anchors(RETINA_ANCHORS)], ids=['points', 'anchors'])
def test_ones_own_assigner_is_handed_what_it_declares(cfg, view, form):
    head = build_head(None, train_cfg=ConfigDict(cfg), **form)
    assert head._view() == view
    gt_instances = crowd(0, 2)
    outs = head([torch.randn(1, 32, *size) for size in SIZES])
    losses = head.loss_by_feat(*outs, [gt_instances], [META])
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    handed, kwargs = head.assigner.handed
    assert handed.priors.size(1) == (4 if view.priors == 'strided points' else 2)
    assert ('scores' in handed) == ('bboxes' in handed) == (view.scores is not None)
    if view.scores is not None:
        assert (handed.scores.min() >= 0) == (view.scores == 'probs')
    assert set(kwargs) == set(view.kwargs) | {
        name for name, wanted in dict(num_level_priors=view.levels, img_meta=view.img_meta).items()
        if wanted}
    if view.levels:
        assert sum(kwargs['num_level_priors']) == len(handed.priors)
    if view.img_meta:
        assert kwargs['img_meta'] is META


def test_views_are_inherited_and_overridden():
    assert view_of(Inherits()) is not None and view_of(Inherits()) == SaysSo.wants
    assert view_of(OtherScores()) == View('boxes', 'logits')
    assert view_of(MoreOfMaxIoU(0.5, 0.5)) == View('boxes')
    assert view_of(MoreOfMaxIoU(0.5, 0.5), dict(anchor_ratio=2.4)) == View(
        'boxes', anchor_ratio=2.4)


def test_views_that_depend_on_the_assigners_own_arguments():
    assert view_of(ATSSAssigner(topk=9)).scores is None
    assert view_of(ATSSAssigner(topk=9, alpha=0.8)).scores == 'logits'
    assert view_of(LLAAssigner()).priors == 'own'
    assert view_of(LLAAssigner(score_form='probs', prior_form='boxes')) == View(
        'boxes', 'probs', gives_iou=True, counts_ignored=True)


@pytest.mark.parametrize('make, words', [
    (lambda: View('anchors'), 'priors must be one of .*anchors'),
    (lambda: View('boxes', 'sigmoids'), 'scores must be one of .*sigmoids'),
    (lambda: View('boxes', anchor_scale=0), 'anchor_scale must be finite and > 0, got 0'),
    (lambda: View('boxes', anchor_ratio=float('nan')), 'anchor_ratio'),
    (lambda: view_of(LLAAssigner(), dict(score='probs')), 'no argument score; expected .*scores'),
    (lambda: view_of(type('Odd', (SaysSo, ), dict(wants='boxes'))()), "Odd.wants must be a View"),
])
def test_wrong_views_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
