"""Every knob of LLAAssigner, alone and with the others, against the oracle; and what is refused."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner
from mmdet_lla.assigners import candidates as candidates_module
from mmdet_lla.assigners import matching

from .oracle import barred_priors, cost_table, dynamic_topk, iou_table, solve
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
    ignore_iof_thr=[0., 0.3, 0.7],
    outside_penalty=[0., 5., 1000., 1e5],
    reg_weight=[0., 1.5, 3.],
    score_form=['logits', 'probs'])


def ask_oracle(scene, kind, knobs):
    """What is expected of every prior, in mmdet's words, and by how much."""
    knobs = {name: values[0] for name, values in KNOBS.items()} | dict(
        topk=10, candidate_topk=10, reg_weight=1.5, outside_penalty=1000.) | knobs
    ignored = scene['ignored']
    takes_part = torch.ones_like(ignored) if knobs['ignore'] == 'compete' else ~ignored
    boxes, classes = scene['boxes'][takes_part], scene['classes'][takes_part]
    points, preds = scene['points'], scene['preds']
    reach = knobs['center_radius'] * scene['priors'][:, 2:] if kind == 'strided' else None
    cost = cost_table(
        points, preds, scene['scores'], boxes, classes, reg_weight=knobs['reg_weight'],
        form=knobs['score_form'], candidates=knobs['candidates'], reach=reach,
        cls_cost=knobs['cls_cost'], reg_cost=knobs['reg_cost'], penalty=knobs['outside_penalty'])
    barred, covered = barred_priors(
        scene['priors'] if kind == 'anchors' else points, points, boxes,
        scene['boxes'][ignored & (knobs['ignore'] == 'overlap')], knobs['candidates'], reach,
        knobs['ignore_iof_thr'])
    topk, margin = knobs['topk'], torch.inf
    if topk == 'dynamic':
        ious = iou_table(boxes.double(), preds.double()).masked_fill(barred, 0)
        topk, margin = dynamic_topk(ious, knobs['candidate_topk'])
    answer = solve(cost, topk, barred, knobs['contested'])
    expected = gt_inds_of(answer.owner, ignored[takes_part])
    return torch.where(covered, -1, expected), min(answer.margin, margin)


def needed_margin(spread, knobs):
    """Float32 tells costs apart to so much."""
    largest = max(300. if spread > 100 else 1., knobs.get('outside_penalty', 1000.) / 1000)
    return 1e-3 * largest


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(PRIORS),
    num_boxes=st.integers(1, 20),
    num_classes=st.integers(1, 4),
    spread=st.sampled_from([1., 4., 3000.]),
    size=st.sampled_from([3., 20., 60.]),
    knobs=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in KNOBS.items()}))
def test_every_combination_decides_as_the_oracle_does(seed, kind, num_boxes, num_classes, spread,
                                                      size, knobs):
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
