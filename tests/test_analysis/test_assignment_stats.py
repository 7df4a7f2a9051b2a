"""Assignment statistics equal those of a plain loop over priors and gts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.task_modules import AssignResult
from mmengine.structures import InstanceData

from mmdet_lla.analysis.assignment_stats import (
    compute_agreement,
    get_centers,
    sum_statistics,
    summarize,
)
from mmdet_lla.analysis.recording import Assignment

NUM_LEVELS = 3


def make_call(seed: int, num_boxes: int, num_priors: int, form: str, with_bboxes: bool):
    """A random assignment, and random compute_candidates."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 60, (num_boxes + 2 * num_priors, 2), generator=draw).float()
    size = torch.randint(1, 40, corner.shape, generator=draw).float()
    boxes, anchors, bboxes = torch.cat([corner, corner + size], 1).split(
        [num_boxes, num_priors, num_priors]
    )
    points = torch.randint(20, 90, (num_priors, 2), generator=draw).float()
    priors = dict(
        points=points,
        strided=torch.cat([points, torch.full_like(points, 8)], 1),
        one_stride=torch.cat([points, points[:, :1]], 1),
        boxes=anchors,
    )[form]
    pred = InstanceData(priors=priors)
    if with_bboxes:
        pred.bboxes = bboxes
    gt_inds = torch.randint(-1, num_boxes + 1, (num_priors,), generator=draw)
    levels = torch.randint(-1, NUM_LEVELS, (num_priors,), generator=draw)
    wanted = torch.rand(num_boxes, num_priors, generator=draw) < 0.4
    call = Assignment(
        pred,
        InstanceData(bboxes=boxes),
        AssignResult(num_boxes, gt_inds, None, None),
        levels,
        (8, 16, 32),
    )
    return call, wanted


def iou(a: list, b: list) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return width * height / (area - width * height)


def plain(calls: list, form: str, with_bboxes: bool) -> dict:
    """Compute the values of :func:`summarize` in a loop."""
    counts = []
    outside, contested, pred_iou, prior_iou, levels = [], [], [], [], []
    for call, wanted in calls:
        boxes = call.gt_instances.bboxes.tolist()
        count = [0] * len(boxes)
        for i, ind in enumerate(call.result.gt_inds.tolist()):
            if ind <= 0:
                continue
            count[ind - 1] += 1
            box, prior = boxes[ind - 1], call.pred_instances.priors[i].tolist()
            x, y = prior[:2]
            if form == 'boxes':
                x, y = (prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2
                prior_iou.append(iou(prior, box))
            outside.append(
                not (box[0] + 0.01 < x < box[2] - 0.01 and box[1] + 0.01 < y < box[3] - 0.01)
            )
            contested.append(sum(wanted[:, i].tolist()) > 1)
            if with_bboxes:
                pred_iou.append(iou(call.pred_instances.bboxes[i].tolist(), box))
            if call.levels[i] >= 0:
                levels.append(int(call.levels[i]))
        counts += count
    values = dict(
        priors_per_gt=counts,
        gts_without_prior=[c == 0 for c in counts],
        outside=outside,
        contested=contested,
        pred_iou=pred_iou,
        prior_iou=prior_iou,
        **{f'level_{i}': [level == i for level in levels] for i in range(NUM_LEVELS)},
    )
    means = {name: sum(one) / len(one) for name, one in values.items() if one}
    return {**means, 'positives_per_image': len(outside) / len(calls)}


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 4)), min_size=1, max_size=4),
    st.integers(1, 30),
    st.sampled_from(['points', 'strided', 'one_stride', 'boxes']),
    st.booleans(),
)
def test_statistics_equal_a_loop(images, num_priors, form, with_bboxes):
    calls = [
        make_call(seed, num_boxes, num_priors, form, with_bboxes) for seed, num_boxes in images
    ]
    sums = torch.stack([sum_statistics(*call) for call in calls]).sum(0)
    expected = plain(calls, form, with_bboxes)
    found = summarize(sums)
    assert found.keys() == expected.keys() or not any(len(call.gt_instances) for call, _ in calls)
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-5, abs=1e-7)


def test_contested_needs_candidates():
    call, wanted = make_call(0, 3, 20, 'points', False)
    assert 'contested' in summarize(sum_statistics(call, wanted))
    assert 'contested' not in summarize(sum_statistics(call))


@pytest.mark.parametrize(
    'priors, centers',
    [
        ([[4.0, 6.0]], [[4.0, 6.0]]),
        ([[4.0, 6.0, 8.0]], [[4.0, 6.0]]),
        (
            [[4.0, 6.0, 8.0, 8.0], [16.0, 6.0, 8.0, 8.0]],
            [[4.0, 6.0], [16.0, 6.0]],
        ),  # points with strides
        ([[-4.0, -6.0, 8.0, 8.0], [4.0, 2.0, 12.0, 16.0]], [[2.0, 1.0], [8.0, 9.0]]),  # boxes
    ],
)
def test_centres_of_every_form_of_priors(priors, centers):
    assert get_centers(torch.tensor(priors)).tolist() == centers


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), min_size=1))
def test_agreement_is_symmetric_and_one_with_itself(pairs):
    first, second = torch.tensor(pairs).T
    value = compute_agreement(first, second)
    assert value == compute_agreement(second, first) and compute_agreement(first, first) == 1
    either = [(a, b) for a, b in pairs if a > 0 or b > 0]
    assert math.isclose(
        value, sum(a == b for a, b in either) / len(either) if either else 1, rel_tol=1e-6
    )
