"""POTOAssigner against the golden assignments, a brute-force oracle and bad input."""

import pytest
import torch
from golden import POTO, expected_gt_inds, load, predicted_boxes, split_boxes, to_levels
from hypothesis import given, settings
from hypothesis import strategies as st
from lla_heads import build_head, point_generator
from mmengine.structures import InstanceData

from mmdet_lla.assigners import POTOAssigner

from .oracle import inside_table, iou_table
from .poto_oracle import argmax, auxiliary, candidate_table, match, quality_table
from .scenes import make_scene

RULES = dict(plain={}, **{'3dmf': {}}, argmax=dict(matching='argmax'), aux=dict(one_to_many='aux'))
CASES = [
    (name, rule)
    for name in POTO
    for rule in RULES
    if name != 'poto_no_gt' or rule in ('plain', '3dmf')
]


def knobs_of(z, rule) -> dict:
    return dict(
        alpha=float(z['alpha']),
        center_radius=float(z['center_radius']),
        aux_topk=int(z['aux_topk']),
        **RULES[rule],
    )


@pytest.mark.parametrize('score_form', ['probs', 'logits'])
@pytest.mark.parametrize('name, rule', CASES)
def test_assignment_equals_the_reference(name, rule, score_form):
    z = load(name)
    boxes, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    scores = z['cls_logits'].sigmoid()
    if rule == '3dmf':
        scores = scores * z['filter_logits'].sigmoid()[:, None]
    if score_form == 'logits':
        scores = scores.double().logit().float() if rule == '3dmf' else z['cls_logits']
    strides = z['strides'][:, None].expand(-1, 2)
    result = POTOAssigner(prior_form='points', score_form=score_form, **knobs_of(z, rule)).assign(
        InstanceData(
            priors=torch.cat([z['points'], strides], 1), bboxes=predicted_boxes(z), scores=scores
        ),
        boxes,
        ignored,
        num_level_priors=z['level_sizes'].prod(1).tolist(),
    )
    expected = expected_gt_inds(z[f'assigned_{rule}'], z['gt_labels'])
    assert int((result.gt_inds > 0).sum()) == int(z[f'num_fg_{rule}'])
    if z.get(f'forced_{rule}', torch.zeros(1)).any():
        # What the others get does not depend on the priors of those.
        forced = z[f'forced_{rule}'][z['gt_labels'] >= 0].nonzero().squeeze(1) + 1
        assert torch.isin(forced, result.gt_inds).all()
        for gt_inds in (expected, result.gt_inds):
            gt_inds[torch.isin(gt_inds, forced)] = 0
    assert torch.equal(result.gt_inds, expected)
    positive = result.gt_inds > 0
    overlaps = iou_table(boxes.bboxes.double(), predicted_boxes(z).double())
    if positive.any():
        theirs = overlaps[result.gt_inds[positive] - 1, positive.nonzero().squeeze(1)]
        torch.testing.assert_close(
            result.max_overlaps[positive], theirs.float(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('rule', ['plain', 'aux'])
@pytest.mark.parametrize('name', POTO)
def test_losses_and_gradients_equal_the_reference(name, rule):
    z = load(name)
    if z.get(f'forced_{rule}', torch.zeros(1)).any() or f'loss_cls_{rule}' not in z:
        assert name in ('poto_more_boxes_than_priors', 'poto_tiny_and_outside', 'poto_no_gt')
        return
    assigner = dict(type='POTOAssigner', **knobs_of(z, rule))
    head = build_head(
        num_classes=z['cls_logits'].size(1),
        anchor_generator=point_generator(8, 16, 32, 64, 128, offset=0.5),
        train_cfg=dict(assigner=assigner),
    )
    leaves = [z[key].clone().requires_grad_() for key in ('cls_logits', 'ltrb')]
    outs = [to_levels(leaf, z) for leaf in (*leaves, torch.zeros(len(leaves[0]), 1))]
    boxes, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    losses = head.loss_by_feat(*outs, [boxes], [{}], [ignored])
    kinds = ('loss_cls', 'loss_bbox') if rule == 'plain' else ('loss_cls',)
    for kind in kinds:
        torch.testing.assert_close(losses[kind], z[f'{kind}_{rule}'].float(), rtol=1e-4, atol=1e-6)
    if f'grad_cls_{rule}' in z:
        sum(losses[kind] for kind in kinds).backward()
        for leaf, kind in zip(leaves, ('cls', 'ltrb'), strict=True):
            theirs = z[f'grad_{kind}_{rule}']
            assert (leaf.grad - theirs).abs().max() <= 1e-4 * theirs.abs().max(), kind


def assign(scene, probs, **kwargs):
    """Assign a scene whose ignored gts count like all others."""
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=probs)
    gt = InstanceData(bboxes=scene['boxes'], labels=scene['classes'])
    kwargs, extra = dict(kwargs), {}
    if 'levels' in kwargs:
        extra = dict(num_level_priors=kwargs.pop('levels'))
    return POTOAssigner(prior_form='points', score_form='probs', **kwargs).assign(pred, gt, **extra)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(['strided', 'scattered']),
    num_boxes=st.sampled_from([1, 3, 12, 40]),
    num_classes=st.sampled_from([1, 3]),
    size=st.sampled_from([3.0, 10.0, 30.0, 60.0]),
    image=st.sampled_from([(96, 128), (64, 64), (16, 32)]),
    radius=st.sampled_from([0, 0.6, 1.5]),
    alpha=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
)
def test_matching_is_optimal(seed, kind, num_boxes, num_classes, size, image, radius, alpha):
    """Also with more gts than priors; and the argmax and auxiliary rules."""
    scene = make_scene(seed, kind, num_boxes, num_classes, 1.5, size, *image)
    radius = radius if kind == 'strided' else 0
    probs, num_priors = scene['scores'].sigmoid(), len(scene['points'])
    quality = quality_table(scene['preds'], probs, scene['boxes'], scene['classes'], alpha)
    strides = scene['priors'][:, 2:] if kind == 'strided' else None
    is_candidate = candidate_table(scene['points'], strides, scene['boxes'], radius)
    knobs = dict(alpha=alpha, center_radius=radius)

    best = match(quality, is_candidate)
    result = assign(scene, probs, **knobs)
    prior = (result.gt_inds > 0).nonzero().squeeze(1)
    box = result.gt_inds[prior] - 1
    assert len(box.unique()) == len(box) == min(num_boxes, num_priors)
    ours = best.quality[box, prior]
    assert int((ours < 0).sum()) == best.num_forced
    assert abs((ours + 1).sum().item() - best.best_sum) < 1e-4

    levels = [num_priors] if kind == 'scattered' else level_sizes(image)
    inside = inside_table(scene['boxes'].double(), scene['points'].double(), 0.0)
    for answer, rule in (
        (argmax(quality, is_candidate), dict(matching='argmax')),
        (
            auxiliary(quality, inside, levels, 5),
            dict(one_to_many='aux', levels=levels, aux_topk=5),
        ),
    ):
        result = assign(scene, probs, **rule, **knobs)
        if answer.margin > 1e-6:
            assert torch.equal(result.gt_inds, answer.owner + 1)


def level_sizes(image) -> list[int]:
    height, width = image
    return [(-(-height // stride)) * (-(-width // stride)) for stride in (8, 16, 32)]


def test_a_gt_without_candidates_takes_the_best_remaining_prior():
    """Boxes 0 and 1 lie between priors; box 2 has its own."""
    points = torch.tensor([[8.0, 8.0], [16.0, 8.0], [24.0, 8.0], [32.0, 8.0]])
    boxes = torch.tensor([[26.0, 9.0, 31.0, 15.0], [9.0, 9.0, 15.0, 15.0], [20.0, 4.0, 27.0, 12.0]])
    preds = torch.tensor(
        [
            [50.0, 50.0, 60.0, 60.0],  # meets no box
            [50.0, 50.0, 60.0, 60.0],
            [20.0, 4.0, 27.0, 12.0],
            [9.0, 9.0, 15.0, 14.0],  # is about box 1
        ]
    )
    pred = InstanceData(priors=points, bboxes=preds, scores=torch.full((4, 1), 0.5))
    gt = InstanceData(bboxes=boxes, labels=torch.zeros(3, dtype=torch.long))
    # Box 0 is first, of equal qualities prior 3 is the nearest; box 1 then has none that meets it.
    assert POTOAssigner().assign(pred, gt).gt_inds.tolist() == [2, 0, 3, 1]
    # In another order box 1 gets the prior that is about it.
    swapped = gt[[1, 0, 2]]
    assert POTOAssigner().assign(pred, swapped).gt_inds.tolist() == [0, 2, 3, 1]
    # The argmax variant gives them none.
    assert POTOAssigner(matching='argmax').assign(pred, gt).gt_inds.tolist() == [0, 0, 3, 0]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(alpha=1.5), r'alpha must be in \[0, 1\], got 1.5'),
        (dict(center_radius=-1), 'center_radius must be finite and >= 0, got -1'),
        (dict(one_to_many='all'), 'one_to_many must be one of'),
        (dict(matching='greedy'), 'matching must be one of'),
        (dict(aux_topk=0), 'aux_topk must be an int >= 1, got 0'),
        (dict(prior_form='grid'), 'prior_form must be one of'),
        (dict(score_form='softmax'), 'score_form must be one of'),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match='POTOAssigner: ' + message):
        POTOAssigner(**kwargs)


@pytest.mark.parametrize('levels', [None, [3, 4]])
def test_the_auxiliary_rule_needs_the_levels(levels):
    scene = make_scene(1, 'strided', 3, 1, 1.0, 40.0)
    with pytest.raises(ValueError, match='num_level_priors must be the priors per level of all'):
        assign(scene, scene['scores'].sigmoid(), one_to_many='aux', levels=levels)


def test_a_radius_needs_strides():
    scene = make_scene(11, 'points', 6, 1, 2.0, 40.0)
    with pytest.raises(ValueError, match=r'expected \(n, 4\).*in strides'):
        assign(scene, scene['scores'].sigmoid(), center_radius=1.5)
