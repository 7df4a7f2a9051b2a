"""matching.py on tables of costs with many ties."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps

from mmdet_lla.assigners import matching
from mmdet_lla.assigners.candidates import Rectangles
from mmdet_lla.assigners.costs import PairCosts
from mmdet_lla.assigners.geometry import with_area
from mmdet_lla.assigners.matching import (
    OUTSIDE_PENALTY,
    GtIndex,
    compute_dynamic_topk,
    list_allowed,
    match,
    pack,
    unpack_index,
)

from .oracle import solve


class TableOfCosts:
    """Costs from a table (num_gts, num_priors), penalties included."""

    penalty = 0.0

    def __init__(self, table):
        self.table = table
        self.num_priors = table.size(1)

    def compute_pair_costs(self, box, prior):
        return self.table[box, prior % self.num_priors]

    def compute_penalties(self, box, prior):
        return 0.0

    def compute_table(self, box, image, prior=None):
        if prior is None:
            return self.table[box]
        return self.table[box].gather(1, (prior % self.num_priors).expand(len(box), -1))


def run(cost, inside, topk, exhaustive=False, contested='all', image=None, excluded=None):
    """Run match() where gt b contains the priors [inside[b][0], inside[b][1])."""
    num_boxes, num_priors = cost.shape
    image = np.zeros(num_boxes, dtype=np.int64) if image is None else image
    first, last = inside.T
    cols = (last - first).unsqueeze(0)
    rows = (cols > 0).long()
    first = (first + torch.from_numpy(image) * num_priors).unsqueeze(0)
    rectangles = Rectangles(first, rows, cols, torch.ones_like(cols))
    topk, free = np.broadcast_to(topk, num_boxes).clip(max=num_priors), None
    if excluded is not None:
        free = list_allowed(excluded, (~excluded).sum(1).numpy())
        topk = np.minimum(topk, free.counts[image])
    owner = match(
        None if exhaustive else rectangles,
        rows.sum(0).numpy(),
        cols.sum(0).numpy(),
        GtIndex(image, int(image.max()) + 1, torch.arange(num_priors), topk),
        TableOfCosts(cost),
        free,
        contested,
    )
    return torch.where(owner == num_boxes, -1, owner)


def random_case(seed, num_boxes=12, num_priors=60, levels=4):
    """Return costs of few values, so that most tie, and a range of inside priors per gt."""
    rng = torch.Generator().manual_seed(seed)
    cost = torch.randint(levels, (num_boxes, num_priors), generator=rng).float()
    ends = torch.randint(num_priors + 1, (num_boxes, 2), generator=rng).sort(1).values
    ends[:, 1] = torch.minimum(ends[:, 1], ends[:, 0] + 20)
    index = torch.arange(num_priors)
    inside = (index >= ends[:, :1]) & (index < ends[:, 1:])
    return cost + OUTSIDE_PENALTY * ~inside, ends


@pytest.mark.parametrize('topk', [1, 5, 100])
@pytest.mark.parametrize('chunk', [None, 7])
def test_sparse_matching_equals_the_full_table(topk, chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(matching, 'PAIR_CHUNK', chunk)
        monkeypatch.setattr(matching, 'TABLE_CHUNK', chunk)
    for seed in range(20 if chunk is None else 5):
        cost, ends = random_case(seed)
        assert torch.equal(run(cost, ends, topk), solve(cost.double(), topk).owner)


def find_topk(preds, boxes, candidate_topk):
    costs = PairCosts(
        with_area(preds), with_area(boxes), torch.zeros(1, len(preds), 1), *[None] * 7
    )
    image = np.zeros(len(boxes), dtype=np.int64)
    return compute_dynamic_topk(
        costs, GtIndex(image, 1, torch.arange(len(preds)), None), candidate_topk
    )


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
        assert find_topk(preds, boxes, candidate_topk).tolist() == expected.tolist()
    assert find_topk(preds[:1] + 999, boxes, 10).tolist() == [1] * 30


@pytest.mark.parametrize('contested', ['all', 'picked'])
@pytest.mark.parametrize('chunk', [None, 7])
@pytest.mark.parametrize('way', ['sparse', 'exhaustive', 'some priors excluded'])
def test_images_of_a_batch_are_matched_separately(contested, chunk, way, monkeypatch):
    if chunk:
        monkeypatch.setattr(matching, 'PAIR_CHUNK', chunk)
        monkeypatch.setattr(matching, 'TABLE_CHUNK', chunk)
    for seed in range(10 if chunk is None else 3):
        rng = np.random.default_rng(seed)
        sizes = rng.permutation([0, 1, 5, 12])
        if not sizes[-1]:
            sizes = sizes[::-1]
        images = [random_case(seed, int(size)) for size in sizes]
        topk = [rng.integers(1, 12, size) for size in sizes]
        excluded = torch.from_numpy(rng.random((4, 60)) < 0.6)
        found = run(
            torch.cat([cost for cost, _ in images]),
            torch.cat([ends for _, ends in images]),
            np.concatenate(topk),
            way != 'sparse',
            contested,
            np.arange(4).repeat(sizes),
            excluded if 'excluded' in way else None,
        ).view(4, 60)
        before = 0
        for index, size in enumerate(sizes):
            expected = torch.full((60,), -1)
            if size:
                cost = images[index][0].double()
                out = excluded[index] if 'excluded' in way else None
                expected = solve(cost, torch.from_numpy(topk[index]), out, contested).owner
                expected[expected >= 0] += before
            assert torch.equal(found[index], expected)
            before += size


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
