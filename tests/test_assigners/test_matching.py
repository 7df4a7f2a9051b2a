"""The identities of matching.py, on tables of costs with as many ties as can be."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps

from mmdet_lla.assigners import matching
from mmdet_lla.assigners.candidates import Rectangles
from mmdet_lla.assigners.costs import with_area
from mmdet_lla.assigners.matching import (
    OUTSIDE_PENALTY,
    dynamic_topk,
    match,
    pack,
    unpack_index,
)

from .oracle import solve


def run(cost, inside, topk, exhaustive=False, contested='all'):
    """match() where each box holds the priors [inside[b][0], inside[b][1])."""
    first, last = inside.T
    size = (last - first).unsqueeze(1)
    rectangles = Rectangles(first.unsqueeze(1), (size > 0).long(), size, torch.ones_like(size))

    def table_cost(box, prior):
        return cost[box] if prior is None else cost[box][:, prior]

    num_boxes, num_priors = cost.shape
    topk = np.broadcast_to(topk, num_boxes).clip(max=num_priors)
    return match(
        rectangles,
        (size > 0).flatten().tolist(),
        size.flatten().tolist(),
        num_priors,
        topk,
        lambda box, prior: cost[box, prior],
        table_cost,
        exhaustive,
        None,
        contested,
    )


def random_case(seed, num_boxes=12, num_priors=60, levels=4):
    """Costs in a few steps, so that most tie, and a run of inside priors a box."""
    rng = torch.Generator().manual_seed(seed)
    cost = torch.randint(levels, (num_boxes, num_priors), generator=rng).float()
    ends = torch.randint(num_priors + 1, (num_boxes, 2), generator=rng).sort(1).values
    ends[:, 1] = torch.minimum(ends[:, 1], ends[:, 0] + 20)
    index = torch.arange(num_priors)
    inside = (index >= ends[:, :1]) & (index < ends[:, 1:])
    return cost + OUTSIDE_PENALTY * ~inside, ends


@pytest.mark.parametrize('topk', [1, 5, 100])
@pytest.mark.parametrize('chunk', [None, 7])
def test_sparse_answer_is_that_of_the_full_table(topk, chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(matching, 'PAIR_CHUNK', chunk)
        monkeypatch.setattr(matching, 'TABLE_CHUNK', chunk)
    for seed in range(20 if chunk is None else 5):
        cost, ends = random_case(seed)
        assert torch.equal(run(cost, ends, topk), solve(cost.double(), topk).owner)


@pytest.mark.parametrize('contested', ['all', 'picked'])
@pytest.mark.parametrize('chunk', [None, 7])
@pytest.mark.parametrize('exhaustive', [False, True])
def test_every_box_may_pick_another_number(contested, chunk, exhaustive, monkeypatch):
    if chunk:
        monkeypatch.setattr(matching, 'PAIR_CHUNK', chunk)
        monkeypatch.setattr(matching, 'TABLE_CHUNK', chunk)
    for seed in range(20 if chunk is None else 5):
        cost, ends = random_case(seed)
        topk = np.random.default_rng(seed).integers(1, 12, len(cost))
        answer = solve(cost.double(), topk, contested=contested)
        assert torch.equal(run(cost, ends, topk, exhaustive, contested), answer.owner)


@pytest.mark.parametrize('chunk', [None, 70])
def test_a_dynamic_number_is_the_sum_of_the_largest_ious(chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(matching, 'TABLE_CHUNK', chunk)
    rng = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]) + torch.rand(30, 1, generator=rng) * 40
    preds = boxes.repeat(2, 1) + torch.randn(60, 4, generator=rng)
    ious = bbox_overlaps(boxes, preds)
    for candidate_topk in (1, 10, 999):
        expected = ious.topk(min(candidate_topk, 60), 1).values.sum(1).int().clamp(min=1)
        found = dynamic_topk(with_area(preds), with_area(boxes), candidate_topk)
        assert found.tolist() == expected.tolist()
    assert dynamic_topk(with_area(preds[:1] + 999), with_area(boxes), 10).tolist() == [1] * 30


def test_costs_past_the_penalty_need_the_full_table():
    for seed in range(20):
        cost, ends = random_case(seed)
        cost = cost * 700  # now an inside pair may cost more than one outside
        assert torch.equal(run(cost, ends, 5, exhaustive=True), solve(cost.double(), 5).owner)


def test_packed_numbers_sort_by_cost_and_then_by_index():
    cost = torch.tensor([0.0, 1e-45, 1e-8, 0.5, 0.5, 1.0, 999.0, 1e3, 3e38])
    index = torch.tensor([9, 8, 7, 2**31 - 1, 0, 5, 4, 3, 2])
    order = sorted(range(len(cost)), key=lambda i: (cost[i].item(), index[i].item()))
    assert pack(cost, index).argsort().tolist() == order
    assert torch.equal(unpack_index(pack(cost, index)), index)
