"""LLAHead against the reference, and on images without gts and other special cases."""

import copy

import pytest
import torch
from golden import expected_gt_inds, load, split_boxes
from lla_heads import ASSIGNERS, build_head
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_lla import LLAHead

TRAIN_CFG = ConfigDict(assigner=dict(type='LLAAssigner'))
TEST_CFG = ConfigDict(
    nms_pre=1000,
    min_bbox_size=-1,
    score_thr=0.05,
    max_per_img=300,
    nms=dict(type='nms', iou_threshold=0.6),
)
ANCHORS = dict(
    anchor_generator=dict(
        type='AnchorGenerator',
        ratios=[1.0, 2.0],
        octave_base_scale=4,
        scales_per_octave=1,
        strides=[8, 16, 32, 64, 128],
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
)
REFERENCE_NAMES = dict(
    cls_subnet='cls_convs',
    bbox_subnet='reg_convs',
    cls_score='retina_cls',
    bbox_pred='retina_reg',
    ious_pred='retina_iou',
)


def build(num_classes=1, **kwargs) -> LLAHead:
    defaults = dict(stacked_convs=4, train_cfg=TRAIN_CFG, test_cfg=TEST_CFG)
    return build_head(num_classes=num_classes, **{**defaults, **kwargs})


def our_name(name: str) -> str:
    """Name of a parameter of the reference in RetinaHead's words."""
    part, *rest = name.split('.')
    if part in ('cls_subnet', 'bbox_subnet'):
        index, kind = int(rest[0]), 'conv' if int(rest[0]) % 3 == 0 else 'gn'
        rest = [str(index // 3), kind, rest[1]]
    return '.'.join([REFERENCE_NAMES.get(part, part), *rest])


@pytest.fixture(params=['head_one_class', 'head_three_classes'])
def golden(request):
    z = load(request.param)
    head = build(
        num_classes=z['out_cls/0'].size(1),
        conv_bias=True,
        bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False),
    )
    state = {our_name(k[len('state/') :]): v for k, v in z.items() if k.startswith('state/')}
    shapes = head.state_dict()
    head.load_state_dict({k: v.reshape(shapes[k].shape) for k, v in state.items()})
    return z, head


def feats_of(z):
    return tuple(z[f'feat/{i}'] for i in range(5))


def test_outputs_losses_and_gradients_equal_the_reference(golden):
    z, head = golden
    # One unit's input to a ReLU is some 1e-6, and oneDNN's sums turn its sign on some CPUs.
    with torch.backends.mkldnn.flags(enabled=False):
        outs = head(feats_of(z))
    for ours, theirs in zip(outs, ('cls', 'ltrb', 'iou'), strict=True):
        for i, level in enumerate(ours):
            torch.testing.assert_close(level, z[f'out_{theirs}/{i}'], rtol=1e-4, atol=1e-5)
    boxes, ignored = zip(
        *(split_boxes(z[f'gt_bboxes/{j}'], z[f'gt_labels/{j}']) for j in (0, 1)), strict=True
    )
    metas = [dict(img_shape=tuple(z['image_hw'].tolist()))] * 2
    losses = head.loss_by_feat(*outs, list(boxes), metas, list(ignored))
    for name, value in losses.items():
        torch.testing.assert_close(value, z[name].float(), rtol=1e-4, atol=0)
    sum(losses.values()).backward()
    gradients = {our_name(k[len('grad/') :]): v for k, v in z.items() if k.startswith('grad/')}
    assert len(gradients) == 6
    parameters = dict(head.named_parameters())
    for name, theirs in gradients.items():
        ours = parameters[name].grad.reshape(theirs.shape)
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max(), name


def test_assignment_inside_the_head_equals_the_reference(golden):
    z, head = golden
    seen = []
    assign = head.assigner.assign
    head.assigner.assign = lambda *a, **kw: seen.append(assign(*a, **kw)) or seen[-1]
    boxes, ignored = zip(
        *(split_boxes(z[f'gt_bboxes/{j}'], z[f'gt_labels/{j}']) for j in (0, 1)), strict=True
    )
    head.loss_by_feat(*head(feats_of(z)), list(boxes), [{}] * 2, list(ignored))
    for j, result in enumerate(seen):
        theirs = expected_gt_inds(z[f'assigned/{j}'], z[f'gt_labels/{j}'])
        assert torch.equal(result.gt_inds, theirs)
        assert torch.equal(result.gt_inds != -1, z[f'valid/{j}'])
    assert sum(int((result.gt_inds != 0).sum()) for result in seen) == int(z['num_fg'])


def test_detections_equal_the_reference():
    z = load('head_one_class')
    head = build(conv_bias=True, bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False))
    outs = [[z[f'out_{name}/{i}'] for i in range(5)] for name in ('cls', 'ltrb', 'iou')]
    metas = [dict(img_shape=tuple(z['image_hw'].tolist()))] * 2
    for j, result in enumerate(head.predict_by_feat(*outs, batch_img_metas=metas)):
        torch.testing.assert_close(result.scores, z[f'det_scores/{j}'], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(result.bboxes, z[f'det_bboxes/{j}'], rtol=1e-5, atol=1e-3)
        assert torch.equal(result.labels, z[f'det_labels/{j}'].long())


def instances(*boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
    )


BOX = (20.0, 20.0, 90.0, 110.0)
EMPTY = instances()
IMAGES = {
    'no boxes': ([EMPTY, EMPTY], None),
    'only ignore boxes': ([EMPTY, EMPTY], [instances(BOX), instances(BOX)]),
    'one with, one without': ([instances(BOX), EMPTY], [EMPTY, instances(BOX)]),
    'box of no area': ([instances((5.0, 5.0, 5.0, 5.0)), instances(BOX)], [EMPTY, EMPTY]),
    'box outside the image': ([instances((-90.0, -90.0, -10.0, -10.0)), EMPTY], None),
}


FORMS = pytest.mark.parametrize('form', [{}, ANCHORS], ids=['points', 'anchors'])
META = dict(img_shape=(128, 128))


@FORMS
@pytest.mark.parametrize('assigner', ASSIGNERS)
def test_any_image_trains_every_parameter(assigner, form):
    torch.manual_seed(0)
    head = build(stacked_convs=1, train_cfg=ConfigDict(assigner=ASSIGNERS[assigner]), **form)
    head.init_weights()
    feats = [torch.randn(2, 32, 128 // s, 128 // s) for s in (8, 16, 32, 64, 128)]
    for boxes, ignored in IMAGES.values():
        losses = head.loss_by_feat(*head(feats), boxes, [META] * 2, ignored)
        assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_iou'}
        if assigner == 'LLAAssigner':
            positive = sum(len(instances) for instances in boxes) > 0
            assert (losses['loss_bbox'] > 0) == positive
            assert (losses['loss_iou'] > 0) == positive
        head.zero_grad()
        sum(losses.values()).backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, f'{name} would be unused under DDP'
            assert parameter.grad.isfinite().all(), name


def crowd(num_classes, seed=0, num=12):
    rng = torch.Generator().manual_seed(seed)
    middle = 128 * torch.rand(num, 2, generator=rng)
    half = torch.tensor([0.5, 1.0]) * (5 + 30 * torch.rand(num, 1, generator=rng))
    return InstanceData(
        bboxes=torch.cat([middle - half, middle + half], 1),
        labels=torch.randint(num_classes, (num,), generator=rng),
    )


def predictions(head):
    """Outputs of a head as they may be late in a training: sides of some 40 pixels."""
    torch.manual_seed(0)
    sizes = [128 // s for s in (8, 16, 32, 64, 128)]
    places = head.num_base_priors
    low, high = (5, 45) if head.with_points else (-0.5, 0.5)
    return (
        [torch.randn(1, places * head.num_classes, s, s).requires_grad_() for s in sizes],
        [torch.empty(1, places * 4, s, s).uniform_(low, high) for s in sizes],
        [torch.randn(1, places, s, s) for s in sizes],
    )


@FORMS
@pytest.mark.parametrize('assigner', ASSIGNERS)
def test_targets_under_every_assigner(monkeypatch, assigner, form):
    """Labels of the boxes, IoU of prediction and box, nothing from what was ignored."""
    head = build(num_classes=3, train_cfg=ConfigDict(assigner=ASSIGNERS[assigner]), **form)
    results, given = [], {}
    assign = head.assigner.assign
    head.assigner.assign = lambda *a, **kw: results.append(assign(*a, **kw)) or results[-1]
    for name in ('loss_cls', 'loss_bbox', 'loss_iou'):
        loss = getattr(head, name)
        monkeypatch.setattr(
            loss,
            'forward',
            lambda *a, name=name, to=loss.forward, **kw: (
                given.__setitem__(name, (a, kw)) or to(*a, **kw)
            ),
        )
    outs = predictions(head)
    gt_instances, ignored = crowd(3), crowd(3, seed=1, num=3)
    losses = head.loss_by_feat(*outs, [gt_instances], [META], [ignored])

    gt_inds = results[0].gt_inds
    positive = (gt_inds > 0).nonzero().squeeze(1)
    assert len(positive) > 3
    scores, labels, weights = given['loss_cls'][0]
    assert torch.equal(labels[positive], gt_instances.labels[gt_inds[positive] - 1])
    assert (labels[gt_inds <= 0] == 3).all()
    bboxes, targets = given['loss_bbox'][0]
    assert torch.equal(targets, gt_instances.bboxes[gt_inds[positive] - 1])
    ious = given['loss_iou'][0][1]
    torch.testing.assert_close(
        ious, bbox_overlaps(bboxes, targets, is_aligned=True), rtol=1e-4, atol=1e-5
    )
    # Ignore boxes count in the divisor where they compete, in LLA.
    counted = gt_inds != 0 if assigner == 'LLAAssigner' else gt_inds > 0
    assert {float(kw['avg_factor']) for _, kw in given.values()} == {float(counted.sum())}

    losses['loss_cls'].backward()
    gradient = torch.cat([level.grad.permute(0, 2, 3, 1).reshape(-1, 3) for level in outs[0]])
    out = (gt_inds < 0).unsqueeze(1).repeat(1, 3)
    shadowed = results[0].get_extra_property('shadowed_labels')
    if assigner == 'CenterRegionAssigner':
        assert len(shadowed)
        out[shadowed[:, 0], shadowed[:, 1]] = True
    assert torch.equal(gradient == 0, out)
    if assigner in ('LLAAssigner', 'MaxIoUAssigner', 'CenterRegionAssigner'):
        assert out.any()


@pytest.mark.parametrize('assigner', ASSIGNERS)
@pytest.mark.parametrize(
    'label, box, printed',
    [
        (3, BOX, r'gt_instances.labels holds a value outside 0\.\.2; the head scores 3 class'),
        (-1, BOX, 'gt_instances.labels holds a value outside'),
        (10**6, BOX, 'gt_instances.labels holds a value outside'),
        (0, (60.0, 20.0, float('nan'), 110.0), 'holds NaN or infinite values'),
        (0, (60.0, 20.0, float('inf'), 110.0), 'holds NaN or infinite values'),
        (0, (60.0, 20.0, 59.5, 110.0), r'a box with x2 < x1 .* got \[60.0, 20.0, 59.5, 110.0\]'),
    ],
)
def test_wrong_instances_are_rejected(assigner, label, box, printed):
    """Every assigner gets valid gts only; boxes without area and ignored ones may be inverted."""
    head = build(num_classes=3, train_cfg=ConfigDict(assigner=ASSIGNERS[assigner]))
    outs = [[torch.cat([level, level]) for level in kind] for kind in predictions(head)]
    good, bad = instances(BOX, (7.0, 7.0, 7.0, 7.0)), instances(BOX, box)
    bad.labels[1] = label
    metas = [dict(META, img_path='first.jpg'), dict(META, img_path='second.jpg')]
    inverted = instances((60.0, 20.0, 59.5, 110.0))
    losses = head.loss_by_feat(*outs, [good, good], metas, [inverted, EMPTY])
    assert all(0 <= loss < 1e3 for loss in losses.values())
    with pytest.raises(ValueError, match=f'{printed}.*second.jpg'):
        head.loss_by_feat(*outs, [good, bad], metas, [EMPTY, EMPTY])


def test_priors_won_by_ignore_boxes_leave_the_loss_but_count_in_the_divisor():
    head = build()
    feats = [torch.randn(1, 32, 256 // s, 256 // s) for s in (8, 16, 32, 64, 128)]
    outs = head(feats)
    with_ignore = head.loss_by_feat(*outs, [EMPTY], [{}], [instances(BOX)])
    without = head.loss_by_feat(*outs, [EMPTY], [{}], None)
    result = head.assigner.assign(
        InstanceData(
            priors=torch.cat(
                head.prior_generator.grid_priors([f.shape[-2:] for f in feats], device='cpu')
            ),
            bboxes=torch.zeros(1364, 4),
            scores=torch.zeros(1364, 1),
        ),
        EMPTY,
        instances(BOX),
    )
    assert int((result.gt_inds == -1).sum()) == 10
    assert 0 < with_ignore['loss_cls'] < without['loss_cls'] / 10


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(bbox_coder=dict(type='DeltaXYWHBBoxCoder')), 'do not go together'),
        (dict(conv_bias=False), 'conv_bias'),
        (dict(reg_decoded_bbox=False), 'reg_decoded_bbox'),
        (dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False)), 'use_sigmoid'),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_state_can_be_copied():
    head = build()
    head(tuple(torch.randn(1, 32, 4, 4) for _ in range(5)))
    copy.deepcopy(head).load_state_dict(head.state_dict())


@FORMS
def test_number_of_feature_maps_is_checked(form):
    """Three strides trained and predicted in silence without the coarsest two of five levels."""
    generator = {**form.get('anchor_generator', {'type': 'MlvlPointGenerator', 'offset': 0})}
    head = build(**{**form, 'anchor_generator': {**generator, 'strides': [8, 16, 32]}})
    feats = [torch.randn(1, 32, 128 // s, 128 // s) for s in (8, 16, 32, 64, 128)]
    with pytest.raises(ValueError, match=r'got 5 feature maps, but anchor_generator has 3 strides'):
        head(feats)
    assert len(head(feats[:3])[0]) == 3


@FORMS
@pytest.mark.parametrize('size', [(128, 128), (120, 40), (33, 700)])
def test_strides_of_other_levels_are_rejected(form, size):
    head = build(norm_cfg=None, stacked_convs=1, **form)
    meta = dict(img_shape=size, batch_input_shape=size)
    outs = {
        finest: head(
            [torch.randn(1, 32, *(-(-n // (finest << i)) for n in size)) for i in range(5)]
        )
        for finest in (4, 8, 16)
    }
    head.loss_by_feat(*outs[8], [instances(BOX)], [meta])
    head.predict_by_feat(*outs[8], batch_img_metas=[meta])
    for finest in (4, 16):
        with pytest.raises(ValueError, match=rf'an input of {size[0]} x {size[1]} has'):
            head.loss_by_feat(*outs[finest], [instances(BOX)], [meta])
        with pytest.raises(ValueError, match='are not those of the feature maps'):
            head.predict_by_feat(*outs[finest], batch_img_metas=[meta])
