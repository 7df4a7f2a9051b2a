"""Every argument of LLAAssigner, alone and combined, against the oracle; and wrong values."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmdet_lla import LLAAssigner
from mmdet_lla.assigners import candidates as candidates_module
from mmdet_lla.assigners import matching

from .oracle import cost_table, dynamic_topk, excluded_priors, iou_table, solve
from .scenes import PRIORS, make_scene
from .test_lla_assigner import assign, gt_inds_of

KNOBS = dict(
    candidates=['inside', 'center', 'all'],
    center_radius=[0.5, 2.5],
    topk=[1, 10, 400, 'dynamic'],
    candidate_topk=[3, 10, 5000],
    contested=['all', 'picked'],
    cls_cost=['focal', 'bce'],
    reg_cost=['iou', 'iou_plus_eps', 'giou'],
    ignore=['compete', 'overlap', 'unused'],
    ignore_iof_thr=[0.0, 0.3, 0.7],
    outside_penalty=[0.0, 5.0, 1000.0, 1e5],
    reg_weight=[0.0, 1.5, 3.0],
    cls_weight=[1.0, 0.5],
    score_form=['logits', 'probs'],
)


def ask_oracle(scene, kind, knobs):
    """Return the expected gt_inds and the margin of the closest decision."""
    knobs = (
        {name: values[0] for name, values in KNOBS.items()}
        | dict(topk=10, candidate_topk=10, reg_weight=1.5, outside_penalty=1000.0)
        | knobs
    )
    ignored = scene['ignored']
    takes_part = torch.ones_like(ignored) if knobs['ignore'] == 'compete' else ~ignored
    boxes, classes = scene['boxes'][takes_part], scene['classes'][takes_part]
    points, preds = scene['points'], scene['preds']
    reach = knobs['center_radius'] * scene['priors'][:, 2:] if kind == 'strided' else None
    cost = cost_table(
        points,
        preds,
        scene['scores'],
        boxes,
        classes,
        cls_weight=knobs['cls_weight'],
        reg_weight=knobs['reg_weight'],
        form=knobs['score_form'],
        candidates=knobs['candidates'],
        reach=reach,
        cls_cost=knobs['cls_cost'],
        reg_cost=knobs['reg_cost'],
        penalty=knobs['outside_penalty'],
    )
    excluded, covered = excluded_priors(
        scene['priors'] if kind == 'anchors' else points,
        points,
        boxes,
        scene['boxes'][ignored & (knobs['ignore'] == 'overlap')],
        knobs['candidates'],
        reach,
        knobs['ignore_iof_thr'],
    )
    topk, margin = knobs['topk'], torch.inf
    if topk == 'dynamic':
        ious = iou_table(boxes.double(), preds.double()).masked_fill(excluded, 0)
        topk, margin = dynamic_topk(ious, knobs['candidate_topk'])
    answer = solve(cost, topk, excluded, knobs['contested'])
    expected = gt_inds_of(answer.owner, ignored[takes_part])
    return torch.where(covered, -1, expected), min(answer.margin, margin)


def needed_margin(spread, knobs):
    """Return the smallest difference of costs that float32 resolves."""
    largest = max(300.0 if spread > 100 else 1.0, knobs.get('outside_penalty', 1000.0) / 1000)
    return 1e-3 * largest


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(PRIORS),
    num_boxes=st.integers(1, 20),
    num_classes=st.integers(1, 4),
    spread=st.sampled_from([1.0, 4.0, 3000.0]),
    size=st.sampled_from([3.0, 20.0, 60.0]),
    knobs=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in KNOBS.items()}),
)
def test_every_combination_equals_the_oracle(
    seed, kind, num_boxes, num_classes, spread, size, knobs
):
    if knobs['candidates'] == 'center':
        kind = 'strided'
    scene = make_scene(seed, kind, num_boxes, num_classes, spread, size)
    if knobs['score_form'] == 'probs':
        scene['scores'] = scene['scores'].sigmoid()
    # Box order is that of the assigner: boxes first, then ignore boxes.
    order = scene['ignored'].long().sort(stable=True).indices
    for name in ('boxes', 'classes', 'ignored'):
        scene[name] = scene[name][order]
    assume(knobs['ignore'] == 'compete' or not scene['ignored'].all())
    expected, margin = ask_oracle(scene, kind, knobs)
    assume(margin > needed_margin(spread, knobs))
    result = assign(scene, prior_form='points' if kind == 'strided' else 'auto', **knobs)
    assert torch.equal(result.gt_inds, expected)
    positive = result.gt_inds > 0
    ious = iou_table(scene['boxes'][~scene['ignored']], scene['preds'])
    ious = ious[result.gt_inds[positive] - 1, positive.nonzero()[:, 0]]
    torch.testing.assert_close(result.max_overlaps[positive], ious, rtol=1e-4, atol=1e-5)
    assert not result.max_overlaps[result.gt_inds == 0].any()


@pytest.mark.parametrize(
    'knobs',
    [
        dict(candidates='center'),
        dict(candidates='all', topk='dynamic'),
        dict(topk='dynamic', contested='picked'),
        dict(ignore='overlap'),
        dict(cls_cost='bce', reg_cost='giou'),
    ],
    ids=str,
)
def test_chunks_change_nothing(knobs, monkeypatch):
    scene = make_scene(4, 'strided', 20, 3, 2.0, 40.0)
    knobs = dict(knobs, prior_form='points')
    whole = assign(scene, **knobs)
    for module, name in (
        (matching, 'PAIR_CHUNK'),
        (matching, 'TABLE_CHUNK'),
        (candidates_module, 'TABLE_CHUNK'),
    ):
        monkeypatch.setattr(module, name, 300)
    parts = assign(scene, **knobs)
    assert whole.gt_inds.any() and torch.equal(whole.gt_inds, parts.gt_inds)


def test_nothing_is_left_to_assign():
    """One ignored gt covers all priors, or no prior is near any gt."""
    scene = make_scene(10, 'strided', 3, 1, 2.0, 20.0)
    scene['ignored'] = torch.tensor([False, False, True])
    scene['boxes'][2] = torch.tensor([-900.0, -900.0, 900.0, 900.0])
    knobs = dict(prior_form='points', candidates='center', topk='dynamic')
    result = assign(scene, ignore='overlap', **knobs)
    assert (result.gt_inds == -1).all()
    scene['boxes'][:2] = torch.tensor([-900.0, -900.0, -890.0, -890.0])
    assert not assign(scene, ignore='unused', **knobs).gt_inds.any()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(topk=2.5), 'topk'),
        (dict(reg_weight=-1.0), 'reg_weight'),
        (dict(cls_weight=float('nan')), 'cls_weight'),
        (dict(focal_alpha=1.5), 'focal_alpha'),
        (dict(prior_form='grid'), 'prior_form'),
        (dict(score_form='softmax'), 'score_form'),
        (dict(topk='auto'), "topk must be an int >= 1 or 'dynamic', got 'auto'"),
        (dict(topk=True), 'topk must be'),
        (dict(candidate_topk=0), 'candidate_topk must be an int >= 1, got 0'),
        (
            dict(candidates='center'),
            "candidates='center' .* expected prior_form='points', got 'auto'",
        ),
        (dict(candidates='center', prior_form='boxes'), "got 'boxes'"),
        (dict(candidates='middle'), r"candidates must be one of \('inside', 'center', 'all'\)"),
        (dict(center_radius=0), 'center_radius must be finite and > 0, got 0'),
        (dict(center_radius=float('nan')), 'center_radius must be'),
        (dict(contested='first'), 'contested must be one of'),
        (dict(cls_cost='qfl'), 'cls_cost must be one of'),
        (dict(reg_cost='l1'), 'reg_cost must be one of'),
        (dict(ignore=None), 'ignore must be one of .* got None'),
        (dict(ignore_iof_thr=1.0), r'ignore_iof_thr must be in \[0, 1\), got 1.0'),
        (dict(outside_penalty=-1), r'outside_penalty must be in \[0, 1e\+06\], got -1'),
        (dict(outside_penalty=1e7), 'outside_penalty must be'),
    ],
)
def test_wrong_knobs_are_named(kwargs, message):
    with pytest.raises(ValueError, match='LLAAssigner: .*' + message):
        LLAAssigner(**kwargs)


def test_centers_need_strides():
    scene = make_scene(11, 'points', 6, 1, 2.0, 40.0)
    with pytest.raises(ValueError, match=r'priors has shape .*, 2\).*\(n, 4\).*in strides'):
        assign(scene, prior_form='points', candidates='center')
    scene = make_scene(11, 'strided', 6, 1, 2.0, 40.0)
    scene['priors'][3, 2] = 0
    with pytest.raises(ValueError, match='priors holds strides that are not > 0'):
        assign(scene, prior_form='points', candidates='center')
