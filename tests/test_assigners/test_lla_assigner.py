"""LLAAssigner against the reference's decisions, a brute-force oracle and bad input."""

import pytest
import torch
from golden import ASSIGN, expected_gt_inds, load, split_boxes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

from .oracle import cost_table, iou_table, solve
from .scenes import PRIORS, make_scene


def assign(scene, **kwargs):
    ignored = scene['ignored']
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt, ignore = (
        InstanceData(bboxes=scene['boxes'][chosen], labels=scene['classes'][chosen])
        for chosen in (~ignored, ignored)
    )
    return LLAAssigner(**kwargs).assign(pred, gt, ignore)


def gt_inds_of(owner, ignored):
    """The oracle's answer in mmdet's words."""
    number = torch.where(ignored, -1, (~ignored).cumsum(0))
    return torch.cat([number, number.new_zeros(1)])[owner]


@pytest.mark.parametrize('name', ASSIGN)
def test_every_prior_goes_where_the_reference_sent_it(name):
    z = load(name)
    boxes, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    preds = torch.cat([z['points'] - z['ltrb'][:, :2], z['points'] + z['ltrb'][:, 2:]], 1)
    result = LLAAssigner(topk=int(z['topk']), reg_weight=float(z['reg_cost'])).assign(
        InstanceData(priors=z['points'], bboxes=preds, scores=z['cls_logits']), boxes, ignored
    )
    assert torch.equal(result.gt_inds, expected_gt_inds(z['assigned'], z['gt_labels']))
    assert torch.equal(result.gt_inds >= 0, z['valid'])
    assert int((result.gt_inds != 0).sum()) == int(z['num_fg'])
    positive = result.gt_inds > 0
    assert torch.equal(result.labels[positive], boxes.labels[result.gt_inds[positive] - 1])
    assert (result.labels[~positive] == -1).all()


def test_there_are_twelve_vectors():
    assert len(ASSIGN) == 12


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(PRIORS),
    num_boxes=st.integers(1, 25),
    num_classes=st.integers(1, 4),
    topk=st.sampled_from([1, 3, 10, 400]),
    spread=st.sampled_from([1.0, 4.0, 3000.0]),
    size=st.sampled_from([3.0, 20.0, 60.0]),
    reg_weight=st.sampled_from([0.0, 1.5, 3.0]),
    score_form=st.sampled_from(['logits', 'probs']),
)
def test_decides_as_the_oracle_does(
    seed, kind, num_boxes, num_classes, topk, spread, size, reg_weight, score_form
):
    scene = make_scene(seed, kind, num_boxes, num_classes, spread, size)
    if score_form == 'probs':
        scene['scores'] = scene['scores'].sigmoid()
    # Box order is that of the assigner: boxes first, then ignore boxes; and those with a class.
    order = scene['ignored'].long().sort(stable=True).indices
    for name in ('boxes', 'classes', 'ignored'):
        scene[name] = scene[name][order]
    answer = solve(
        cost_table(
            scene['points'],
            scene['preds'],
            scene['scores'],
            scene['boxes'],
            scene['classes'],
            reg_weight=reg_weight,
            form=score_form,
        ),
        topk,
    )
    assume(answer.margin > (1e-2 if spread > 100 else 1e-3))
    result = assign(
        scene,
        topk=topk,
        reg_weight=reg_weight,
        score_form=score_form,
        prior_form='points' if kind == 'strided' else 'auto',
    )
    assert torch.equal(result.gt_inds, gt_inds_of(answer.owner, scene['ignored']))
    overlaps = iou_table(scene['boxes'], scene['preds'])
    expected = torch.where(answer.owner >= 0, overlaps[answer.owner, range(len(overlaps[0]))], 0.0)
    torch.testing.assert_close(result.max_overlaps, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [3.0, 40.0])
def test_equal_costs_go_to_the_lower_index(size):
    scene = make_scene(0, 'points', 8, 1, spread=0.0, size=size)
    scene['preds'][:] = torch.tensor([500.0, 500.0, 510.0, 510.0])  # meets no box: all costs equal
    scene['ignored'][:] = False
    answer = solve(
        cost_table(
            scene['points'], scene['preds'], scene['scores'], scene['boxes'], scene['classes']
        ),
        10,
    )
    assert answer.margin == 0
    assert torch.equal(assign(scene).gt_inds, answer.owner + 1)


def test_contested_prior_goes_to_a_box_that_did_not_pick_it():
    """Boxes 0 and 1 want the one prior that lies in them; box 2 is cheaper there, full as it is."""
    priors = torch.tensor([[50.0, 50.0], [60.0, 60.0], [200.0, 200.0], [300.0, 300.0]])
    preds = torch.tensor(
        [
            [40.0, 40.0, 70.0, 70.0],
            [39.0, 39.0, 71.0, 71.0],
            [0.0, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0],
        ]
    )
    boxes = torch.tensor(
        [[45.0, 45.0, 55.0, 55.0], [46.0, 46.0, 54.0, 54.0], [39.0, 39.0, 71.0, 71.0]]
    )
    pred = InstanceData(priors=priors, bboxes=preds, scores=torch.zeros(4, 1))
    gt = InstanceData(bboxes=boxes, labels=torch.zeros(3, dtype=torch.long))
    result = LLAAssigner(topk=1).assign(pred, gt)
    assert result.gt_inds.tolist() == [3, 3, 0, 0]


def test_priors_row_by_row_or_shuffled_give_the_same_answer():
    scene = make_scene(3, 'points', 20, 2, spread=2.0, size=40.0)
    order = torch.randperm(len(scene['points']), generator=torch.Generator().manual_seed(0))
    shuffled = {**scene, **{k: scene[k][order] for k in ('priors', 'points', 'preds', 'scores')}}
    assert torch.equal(assign(scene).gt_inds[order], assign(shuffled).gt_inds)


def test_priors_handed_over_again_may_change():
    assigner = LLAAssigner()
    for seed, kind in enumerate(('points', 'scattered', 'points')):
        scene = make_scene(seed, kind, 12, 1, spread=2.0, size=40.0)
        scene['ignored'][:] = False
        pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
        gt = InstanceData(bboxes=scene['boxes'], labels=scene['classes'])
        assert torch.equal(assigner.assign(pred, gt).gt_inds, assign(scene).gt_inds)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_decides_as_the_same_values_in_float32(dtype):
    scene = make_scene(5, 'points', 20, 3, spread=3.0, size=40.0)
    half = {k: v.to(dtype) if k in ('preds', 'scores') else v for k, v in scene.items()}
    full = {**scene, **{k: half[k].float() for k in ('preds', 'scores')}}
    with torch.autocast('cpu', dtype=dtype):
        result = assign(half)
    assert torch.equal(result.gt_inds, assign(full).gt_inds)
    assert result.max_overlaps.dtype is torch.float32


def test_box_types_of_mmdet_are_read():
    scene = make_scene(6, 'anchors', 10, 1, spread=2.0, size=40.0)
    wrapped = {**scene, **{k: HorizontalBoxes(scene[k]) for k in ('priors', 'preds')}}
    assert torch.equal(assign(wrapped).gt_inds, assign(scene).gt_inds)


def test_nothing_to_assign():
    scene = make_scene(7, 'points', 0, 1, spread=2.0, size=40.0)
    result = assign(scene)
    assert not result.gt_inds.any() and not result.max_overlaps.any()
    assert (result.labels == -1).all() and result.num_gts == 0
    none = {
        k: v[:0] if k in ('priors', 'preds', 'scores') else v
        for k, v in make_scene(7, 'points', 3, 1, 2.0, 40.0).items()
    }
    assert len(assign(none).gt_inds) == 0


def test_only_ignore_boxes():
    scene = make_scene(8, 'points', 6, 1, spread=2.0, size=40.0)
    scene['ignored'][:] = True
    scene['classes'][:] = -1
    result = assign(scene)
    assert set(result.gt_inds.tolist()) == {-1, 0}
    assert (result.labels == -1).all()


def test_ignore_boxes_need_no_labels():
    scene = make_scene(9, 'points', 6, 1, spread=2.0, size=40.0)
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt = InstanceData(bboxes=scene['boxes'][:3], labels=scene['classes'][:3])
    result = LLAAssigner().assign(pred, gt, InstanceData(bboxes=scene['boxes'][3:]))
    labelled = InstanceData(bboxes=scene['boxes'][3:], labels=torch.tensor([-1, -1, -1]))
    assert (result.gt_inds == -1).any()
    assert torch.equal(result.gt_inds, LLAAssigner().assign(pred, gt, labelled).gt_inds)


def test_built_from_a_config():
    assigner = TASK_UTILS.build(dict(type='LLAAssigner', topk=5))
    assert isinstance(assigner, LLAAssigner) and assigner.topk == 5


@pytest.mark.parametrize(
    'kwargs, name',
    [
        (dict(topk=0), 'topk'),
        (dict(topk=2.5), 'topk'),
        (dict(reg_weight=-1.0), 'reg_weight'),
        (dict(cls_weight=float('nan')), 'cls_weight'),
        (dict(focal_alpha=1.5), 'focal_alpha'),
        (dict(prior_form='grid'), 'prior_form'),
        (dict(score_form='softmax'), 'score_form'),
    ],
)
def test_wrong_arguments_are_named(kwargs, name):
    with pytest.raises(ValueError, match=name):
        LLAAssigner(**kwargs)


def spoil(scene, key, value):
    scene[key] = scene[key].clone()
    scene[key].view(-1)[0] = value
    return scene


@pytest.mark.parametrize(
    'key, value, kwargs, message',
    [
        ('preds', float('nan'), {}, 'bboxes holds NaN'),
        ('preds', float('inf'), {}, 'bboxes holds NaN or infinite'),
        ('scores', float('nan'), {}, 'scores holds NaN'),
        ('scores', float('-inf'), {}, 'scores holds NaN or infinite'),
        ('boxes', float('nan'), {}, 'gt_instances.bboxes'),
        ('classes', 3, {}, r'gt_instances.labels .* 0..1.* 2 class'),
        ('classes', -1, {}, 'gt_instances.labels'),
        ('scores', 1.5, dict(score_form='probs'), r'outside \[0, 1\]'),
        ('scores', float('nan'), dict(score_form='probs'), 'scores holds NaN'),
    ],
)
def test_wrong_values_are_named(key, value, kwargs, message):
    scene = make_scene(10, 'points', 6, 2, spread=2.0, size=40.0)
    scene['ignored'][:] = False
    if kwargs:
        scene['scores'] = scene['scores'].sigmoid()
    with pytest.raises(ValueError, match=message):
        assign(spoil(scene, key, value), **kwargs)


@pytest.mark.parametrize('ignore', ['compete', 'overlap', 'unused'])
@pytest.mark.parametrize('side', [0, 1])
def test_inverted_boxes_are_named_unless_they_are_ignored(side, ignore):
    scene = make_scene(12, 'points', 6, 1, spread=2.0, size=40.0)
    scene['ignored'][:] = torch.arange(6) > 3
    scene['boxes'][5, [side, side + 2]] = torch.tensor([30.0, 20.0])
    result = assign(scene, ignore=ignore)
    assert (result.gt_inds >= -1).all() and (result.gt_inds > 0).any()
    scene['boxes'][2, [side, side + 2]] = torch.tensor([30.0, 29.5])
    with pytest.raises(ValueError, match=r'x2 < x1 or y2 < y1.*got \[.*29.5'):
        assign(scene, ignore=ignore)
    scene['boxes'][2, side + 2] = 30
    assert (assign(scene, ignore=ignore).gt_inds > 0).any()


def test_a_head_that_hands_over_only_priors_is_told_what_lacks():
    gt = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match='has no bboxes, scores.*LLAHead'):
        LLAAssigner().assign(InstanceData(priors=torch.zeros(5, 4)), gt)


def test_points_with_strides_are_not_taken_for_anchor_boxes():
    scene = make_scene(11, 'strided', 6, 1, spread=2.0, size=40.0)
    with pytest.raises(ValueError, match="prior_form='points'"):
        assign(scene)


@pytest.mark.parametrize(
    'shapes, message',
    [
        (dict(priors=(5, 3)), r'priors has shape \(5, 3\)'),
        (dict(preds=(4, 4)), r'bboxes has shape \(4, 4\)'),
        (dict(scores=(5,)), r'scores has shape \(5,\)'),
        (dict(scores=(5, 0)), r'scores has shape \(5, 0\)'),
    ],
)
def test_wrong_shapes_are_named(shapes, message):
    pred = dict(priors=(5, 2), preds=(5, 4), scores=(5, 1)) | shapes
    pred = {k: torch.zeros(v) for k, v in pred.items()}
    gt = InstanceData(bboxes=torch.zeros(1, 4), labels=torch.zeros(1, dtype=torch.long))
    # InstanceData itself refuses unequal lengths, so they come in a plain stand-in.
    stand_in = type('Pred', (dict,), {'__getattr__': dict.__getitem__})(
        priors=pred['priors'], bboxes=pred['preds'], scores=pred['scores']
    )
    with pytest.raises(ValueError, match=message):
        LLAAssigner().assign(stand_in, gt)
    assert tuple(stand_in.priors.shape) == tuple(pred['priors'].shape)
