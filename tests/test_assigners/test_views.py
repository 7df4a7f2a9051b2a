"""Each assigner gives the same result under LLAHead as under its home head."""

from collections.abc import Callable
from typing import NamedTuple

import lla_heads
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
from mmdet.registry import TASK_UTILS
from mmengine.config import ConfigDict

from mmdet_lla.assigners import LLAAssigner, OTAAssigner, POTOAssigner, View
from mmdet_lla.assigners.views import view_of

from .other_heads import (
    CELLS,
    CLASSES,
    DELTAS,
    META,
    ONE_ANCHOR,
    RETINA_ANCHORS,
    SIZES,
    STRIDES,
    at_anchor_head,
    at_deformable_detr,
    at_reppoints,
    at_rtmdet,
    at_tood,
    at_yolox,
    crowd,
    predict,
    spied,
)


class Case(NamedTuple):
    """An assigner at home, and the form of LLAHead that has the same priors."""

    assigner: dict
    home: Callable
    form: dict = {}


MAX_IOU = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
HUNGARIAN = dict(
    type='HungarianAssigner',
    match_costs=[
        dict(type='FocalLossCost', weight=2.0),
        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
        dict(type='IoUCost', iou_mode='giou', weight=2.0),
    ],
)
CENTER = dict(type='CenterRegionAssigner', pos_scale=0.2, neg_scale=0.4)
ATSS = dict(type='ATSSAssigner', topk=9)
CELL_CENTERS = dict(anchor_generator=dict(type='MlvlPointGenerator', offset=0.5, strides=STRIDES))


def anchors(generator: dict) -> dict:
    return dict(anchor_generator=generator, bbox_coder=DELTAS)


TOP, FSAF = dict(loss_bbox=dict(type='GIoULoss')), dict(reg_decoded_bbox=True)
CASES = {
    'SimOTA, points': Case(dict(type='SimOTAAssigner'), at_yolox, CELL_CENTERS),
    'SimOTA, anchors': Case(
        dict(type='SimOTAAssigner'), at_yolox, anchors({**ONE_ANCHOR, 'center_offset': 0.5})
    ),
    'DynamicSoftLabel, points': Case(dict(type='DynamicSoftLabelAssigner'), at_rtmdet),
    'DynamicSoftLabel, anchors': Case(
        dict(type='DynamicSoftLabelAssigner'), at_rtmdet, anchors(ONE_ANCHOR)
    ),
    'TaskAligned, points': Case(dict(type='TaskAlignedAssigner', topk=13), at_tood),
    'TaskAligned, anchors': Case(
        dict(type='TaskAlignedAssigner', topk=13), at_tood, anchors(ONE_ANCHOR)
    ),
    'MaxIoU, points': Case(MAX_IOU, at_anchor_head('RetinaHead', ONE_ANCHOR)),
    'MaxIoU, anchors': Case(
        MAX_IOU, at_anchor_head('RetinaHead', RETINA_ANCHORS), anchors(RETINA_ANCHORS)
    ),
    'MaxIoU with ignore boxes': Case(
        {**MAX_IOU, 'ignore_iof_thr': 0.5}, at_anchor_head('RetinaHead', ONE_ANCHOR)
    ),
    'ATSS, points': Case(ATSS, at_anchor_head('ATSSHead', ONE_ANCHOR, **TOP)),
    'ATSS, anchors': Case(
        ATSS, at_anchor_head('ATSSHead', RETINA_ANCHORS, **TOP), anchors(RETINA_ANCHORS)
    ),
    'ATSS with ignore boxes': Case(
        {**ATSS, 'ignore_iof_thr': 0.5}, at_anchor_head('ATSSHead', ONE_ANCHOR, **TOP)
    ),
    'CenterRegion, points': Case(CENTER, at_anchor_head('FSAFHead', CELLS, **FSAF)),
    'CenterRegion, anchors': Case(
        CENTER, at_anchor_head('FSAFHead', CELLS, **FSAF), anchors(CELLS)
    ),
    'Point, points': Case(dict(type='PointAssigner', pos_num=3), at_reppoints),
    'Point, anchors': Case(
        dict(type='PointAssigner', pos_num=3), at_reppoints, anchors(ONE_ANCHOR)
    ),
    'Hungarian, points': Case(HUNGARIAN, at_deformable_detr),
    'Hungarian, anchors': Case(HUNGARIAN, at_deformable_detr, anchors(ONE_ANCHOR)),
}


def build_head(assigner: dict, **kwargs):
    defaults = dict(
        num_classes=CLASSES,
        anchor_generator=lla_heads.point_generator(*STRIDES),
        train_cfg=dict(assigner=assigner),
    )
    return lla_heads.build_head(**{**defaults, **kwargs})


@pytest.mark.parametrize(
    'seed, num, num_ignored', [(0, 0, 0), (1, 1, 6), (2, 30, 0), (3, 30, 6), (4, 0, 6)]
)
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_assigns_as_under_the_home_head(case, seed, num, num_ignored):
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
        assert not at_home  # it calls nobody for an image without boxes
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
            head._get_targets(
                logits[None],
                bboxes[None],
                [gt_instances],
                None if ignored is None else [ignored],
                [META],
                priors,
                view,
            )
        (pred_instances,), _, result = calls[0]
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
    strides = torch.cat(
        [torch.full((h * w, 2), float(s)) for s, (h, w) in zip(STRIDES, SIZES, strict=True)]
    )
    view = View('boxes', anchor_scale=scale, anchor_ratio=ratio)
    anchors = AnchorGenerator(STRIDES, [ratio], scales=[scale], center_offset=offset)
    torch.testing.assert_close(
        view.convert_priors(points, strides),
        torch.cat(anchors.grid_priors(SIZES, device='cpu')),
        rtol=0,
        atol=0 if ratio == 1 else 1e-4,
    )


def test_points_of_boxes_are_centers_with_their_levels_strides():
    own, strides = (
        torch.tensor([[-4.0, 0, 12, 4], [8, 8, 8, 8]]),
        torch.tensor([[8.0, 4], [16, 16]]),
    )
    centers = torch.tensor([[4.0, 2], [8, 8]])
    assert torch.equal(View('points').convert_priors(own, strides), centers)
    strided = View('strided points').convert_priors(own, strides)
    assert torch.equal(strided, torch.cat([centers, strides], 1))
    assert View('boxes', anchor_scale=3).convert_priors(own, strides) is own
    for view in (View('own'), View('points')):
        assert view.convert_priors(centers, strides) is centers


@TASK_UTILS.register_module()
class AllToTheFirst(BaseAssigner):
    """A custom assigner that records its inputs and gives all priors to the first gt."""

    def assign(self, pred_instances, gt_instances, gt_instances_ignore=None, **kwargs):
        self.handed = pred_instances, kwargs
        gt_inds = torch.full((len(pred_instances),), int(len(gt_instances) > 0))
        return AssignResult(len(gt_instances), gt_inds, None, None)


@TASK_UTILS.register_module()
class SaysSo(AllToTheFirst):
    view = View('points', 'probs', levels=True, img_meta=True, kwargs=dict(sharpness=2))


class Inherits(SaysSo):
    pass


class OtherScores(SimOTAAssigner):
    view = View('boxes', 'logits')


class MoreOfMaxIoU(MaxIoUAssigner):
    pass


def test_unknown_assigners_are_rejected_with_instructions():
    with pytest.raises(
        ValueError,
        match=(
            r'AllToTheFirst expects is unknown.*class, view = .*View\(.*config, train_cfg = '
            r'.*assigner_view=dict\(priors='
        ),
    ):
        build_head(dict(type='AllToTheFirst'))
    with pytest.raises(ValueError, match='input that ApproxMaxIoUAssigner expects'):
        view_of(ApproxMaxIoUAssigner(0.5, 0.5))


@pytest.mark.parametrize(
    'cfg, view',
    [
        (dict(assigner=dict(type='SaysSo')), SaysSo.view),
        (
            dict(assigner=dict(type='SaysSo'), assigner_view=dict(scores='logits', img_meta=False)),
            View('points', 'logits', levels=True, kwargs=dict(sharpness=2)),
        ),
        (
            dict(assigner=dict(type='AllToTheFirst'), assigner_view=dict(priors='strided points')),
            View('strided points'),
        ),
    ],
)
@pytest.mark.parametrize('form', [{}, anchors(RETINA_ANCHORS)], ids=['points', 'anchors'])
def test_custom_assigners_get_the_declared_inputs(cfg, view, form):
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
        name
        for name, wanted in dict(num_level_priors=view.levels, img_meta=view.img_meta).items()
        if wanted
    }
    if view.levels:
        assert sum(kwargs['num_level_priors']) == len(handed.priors)
    if view.img_meta:
        assert kwargs['img_meta'] is META


def test_the_former_name_of_the_attribute_is_deprecated():
    former = type('Former', (AllToTheFirst,), dict(wants=View('boxes')))()
    with pytest.warns(DeprecationWarning, match='Former.wants is deprecated'):
        assert view_of(former) == View('boxes')


def test_views_are_inherited_and_overridden():
    assert view_of(Inherits()) is not None and view_of(Inherits()) == SaysSo.view
    assert view_of(OtherScores()) == View('boxes', 'logits')
    assert view_of(MoreOfMaxIoU(0.5, 0.5)) == View('boxes')
    assert view_of(MoreOfMaxIoU(0.5, 0.5), dict(anchor_ratio=2.4)) == View(
        'boxes', anchor_ratio=2.4
    )


def test_views_that_depend_on_the_assigners_own_arguments():
    assert view_of(ATSSAssigner(topk=9)).scores is None
    assert view_of(ATSSAssigner(topk=9, alpha=0.8)).scores == 'logits'
    lla = dict(gives_iou=True, counts_ignored=True, own_ignore='compete')
    assert view_of(LLAAssigner()) == View('own', 'logits', **lla)
    assert view_of(LLAAssigner(score_form='probs', prior_form='boxes')) == View(
        'boxes', 'probs', **lla
    )
    simota = view_of(LLAAssigner.simota())
    assert (simota.priors, simota.scores, simota.counts_won) == ('strided points', 'probs', False)
    # Priors excluded by an overlap do not count.
    assert not view_of(LLAAssigner(ignore='overlap')).counts_won
    assert view_of(LLAAssigner()).counts_won
    ota = dict(gives_iou=True, own_ignore='compete')
    assert view_of(OTAAssigner()) == View('boxes', 'logits', **ota)
    assert view_of(OTAAssigner(prior_form='points', score_form='probs')) == View(
        'strided points', 'probs', **ota
    )
    assert view_of(POTOAssigner()) == View('own', 'logits', gives_iou=True)
    assert view_of(POTOAssigner(center_radius=1.5)) == View('boxes', 'logits', gives_iou=True)
    assert view_of(POTOAssigner(center_radius=1.5, prior_form='points', one_to_many='aux')) == View(
        'strided points', 'logits', levels=True, gives_iou=True
    )


@pytest.mark.parametrize(
    'make, words',
    [
        (lambda: View('anchors'), 'priors must be one of .*anchors'),
        (lambda: View('boxes', 'sigmoids'), 'scores must be one of .*sigmoids'),
        (lambda: View('boxes', anchor_scale=0), 'anchor_scale must be finite and > 0, got 0'),
        (lambda: View('boxes', anchor_ratio=float('nan')), 'anchor_ratio'),
        (
            lambda: view_of(LLAAssigner(), dict(score='probs')),
            "no 'score', did you mean 'scores'",
        ),
        (
            lambda: view_of(type('Invalid', (SaysSo,), dict(view='boxes'))()),
            'Invalid.view must be a View',
        ),
    ],
)
def test_wrong_views_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
