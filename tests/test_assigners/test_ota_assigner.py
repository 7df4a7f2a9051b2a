"""OTAAssigner against the golden assignments, a brute-force oracle and bad input."""

import pytest
import torch
from golden import OTA, expected_gt_inds, load, predicted_boxes, split_boxes, to_levels
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lla_heads import build_head
from mmengine.structures import InstanceData

from mmdet_lla.assigners import OTAAssigner

from .oracle import iou_table
from .ota_oracle import candidate_table, solve_ota
from .scenes import make_scene


def knobs_of(z) -> dict:
    return dict(
        candidate_topk=int(z['top_candidates']),
        center_radius=float(z['center_radius']),
        reg_weight=float(z['reg_weight']),
        sinkhorn_eps=float(z['sinkhorn_eps']),
        sinkhorn_iters=int(z['sinkhorn_iters']),
    )


def priors_of(z, form: str):
    points, stride = z['points'], z['strides'][:, None]
    if form == 'points':
        return torch.cat([points, stride, stride], 1)
    return torch.cat([points - 4 * stride, points + 4 * stride], 1)


def assign(scene, **kwargs):
    """Assign a scene whose ignored gts come last."""
    ignored = scene['ignored']
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt, ignore = (
        InstanceData(bboxes=scene['boxes'][chosen], labels=scene['classes'][chosen])
        for chosen in (~ignored, ignored)
    )
    return OTAAssigner(**{'prior_form': 'points', **kwargs}).assign(pred, gt, ignore)


@pytest.mark.parametrize('form', ['points', 'boxes'])
@pytest.mark.parametrize('name', OTA)
def test_assignment_equals_the_reference(name, form):
    z = load(name)
    boxes, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    result = OTAAssigner(prior_form=form, **knobs_of(z)).assign(
        InstanceData(priors=priors_of(z, form), bboxes=predicted_boxes(z), scores=z['cls_logits']),
        boxes,
        ignored,
    )
    assert torch.equal(result.gt_inds, expected_gt_inds(z['assigned'], z['gt_labels']))
    assert torch.equal(result.gt_inds >= 0, z['valid'])
    positive = result.gt_inds > 0
    assert int(positive.sum()) == int(z['num_fg'])
    assert torch.equal(result.labels[positive], boxes.labels[result.gt_inds[positive] - 1])
    assert (result.labels[~positive] == -1).all()
    torch.testing.assert_close(
        result.max_overlaps[positive], z['target_iou'][positive], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('name', OTA)
def test_losses_and_gradients_equal_the_reference(name):
    z = load(name)
    assigner = dict(type='OTAAssigner', **knobs_of(z))
    head = build_head(num_classes=z['cls_logits'].size(1), train_cfg=dict(assigner=assigner))
    leaves = [z[key].clone().requires_grad_() for key in ('cls_logits', 'ltrb', 'iou_logits')]
    outs = [to_levels(leaf.reshape(len(leaf), -1), z) for leaf in leaves]
    boxes, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    losses = head.loss_by_feat(*outs, [boxes], [{}], [ignored])
    for kind, value in losses.items():
        torch.testing.assert_close(value, z[kind].float(), rtol=1e-4, atol=0)
    if 'grad_cls' in z:
        sum(losses.values()).backward()
        for leaf, kind in zip(leaves, ('cls', 'ltrb', 'iou'), strict=True):
            theirs = z[f'grad_{kind}']
            assert (leaf.grad - theirs).abs().max() <= 1e-4 * theirs.abs().max(), kind


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_boxes=st.sampled_from([1, 2, 5, 12, 25, 40]),
    num_classes=st.sampled_from([1, 3]),
    size=st.sampled_from([3.0, 8.0, 20.0, 60.0]),
    image=st.sampled_from([(96, 128), (64, 64), (32, 32)]),
    score_form=st.sampled_from(['logits', 'probs']),
    knobs=st.fixed_dictionaries(
        dict(
            candidate_topk=st.sampled_from([3, 20, 5000]),
            center_radius=st.sampled_from([0.6, 1.5, 2.5]),
            cls_weight=st.sampled_from([1.0, 0.5]),
            reg_weight=st.sampled_from([0.5, 1.5, 3.0]),
            sinkhorn_eps=st.sampled_from([0.1, 0.5, 0.02]),
            sinkhorn_iters=st.sampled_from([1, 2, 10, 50]),
        )
    ),
)
def test_assignment_equals_the_oracle(seed, num_boxes, num_classes, size, image, score_form, knobs):
    """Also where gts have no candidates."""
    scene = make_scene(seed, 'strided', num_boxes, num_classes, 1.0, size, *image)
    scene['ignored'][:] = False
    if score_form == 'probs':
        scene['scores'] = scene['scores'].sigmoid()
    answer = solve_ota(
        scene['points'],
        scene['priors'][:, 2:],
        scene['preds'],
        scene['scores'],
        scene['boxes'],
        scene['classes'],
        score_form=score_form,
        **knobs,
    )
    assume(answer.margin > 1e-2)
    result = assign(scene, score_form=score_form, **knobs)
    assert torch.equal(result.gt_inds, answer.owner + 1)
    overlaps = iou_table(scene['boxes'].double(), scene['preds'].double())
    expected = torch.where(answer.owner >= 0, overlaps[answer.owner, range(len(overlaps[0]))], 0.0)
    torch.testing.assert_close(result.max_overlaps, expected.float(), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_gts_gets_the_shared_prior():
    """Of two equal gts the first takes all priors and the second none."""
    scene = make_scene(1, 'strided', 6, 1, 1.0, 40.0)
    scene['ignored'][:] = False
    scene['boxes'][1], scene['classes'][1] = scene['boxes'][0], scene['classes'][0]
    gt_inds = assign(scene).gt_inds
    assert (gt_inds == 1).any() and not (gt_inds == 2).any()


def test_more_supply_than_priors():
    """Nothing is left to the background, and the boxes share the priors; the reference gives all
    to the first."""
    priors = torch.tensor([[16.0, 16, 8, 8], [24, 16, 8, 8], [16, 24, 8, 8], [24, 24, 8, 8]])
    boxes = torch.tensor([[2.0, 2, 38, 38], [3, 3, 39, 39], [2, 3, 38, 39]])
    preds = boxes[[0, 1, 2, 0]] + torch.tensor([[0.1, 0, 0, 0.2]])
    pred = InstanceData(priors=priors, bboxes=preds, scores=torch.zeros(4, 1))
    gt = InstanceData(bboxes=boxes, labels=torch.zeros(3, dtype=torch.long))
    result = OTAAssigner(prior_form='points').assign(pred, gt)
    answer = solve_ota(
        priors[:, :2], priors[:, 2:], preds, pred.scores, boxes, gt.labels, candidate_topk=20
    )
    ious = iou_table(boxes, preds) * candidate_table(priors[:, :2], priors[:, 2:], boxes, 2.5)
    assert ious.sum(1).long().sum() > len(priors)
    assert torch.equal(result.gt_inds, answer.owner + 1)
    assert set(result.gt_inds.tolist()) == {1, 2, 3}


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(candidate_topk=0), 'candidate_topk must be an int >= 1, got 0'),
        (dict(sinkhorn_iters=2.5), 'sinkhorn_iters must be an int >= 1, got 2.5'),
        (dict(sinkhorn_eps=0), 'sinkhorn_eps must be finite and > 0, got 0'),
        (dict(center_radius=float('nan')), 'center_radius must be'),
        (dict(cls_weight=-1), 'cls_weight must be finite and >= 0, got -1'),
        (dict(reg_weight=float('inf')), 'reg_weight must be'),
        (dict(prior_form='grid'), 'prior_form must be one of'),
        (dict(score_form='softmax'), 'score_form must be one of'),
        (dict(ignore='never'), 'ignore must be one of'),
        (dict(ignore_iof_thr=1.0), r'ignore_iof_thr must be in \[0, 1\), got 1.0'),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match='OTAAssigner: ' + message):
        OTAAssigner(**kwargs)


@pytest.mark.parametrize('form', ['auto', 'points', 'boxes'])
def test_points_without_strides_are_too_little(form):
    scene = make_scene(11, 'points', 6, 1, 2.0, 40.0)
    with pytest.raises(ValueError, match=r'priors has shape .*2\).*expected \(n, 4\).*in strides'):
        assign(scene, prior_form=form)
