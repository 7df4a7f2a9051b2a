"""LLAAssigner against the golden assignments and on special cases."""

import pytest
import torch
from golden import ASSIGN, expected_gt_inds, load, split_boxes
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

from .oracle import cost_table, solve
from .scenes import make_scene


def assign(scene, **kwargs):
    ignored = scene['ignored']
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt, ignore = (
        InstanceData(bboxes=scene['boxes'][chosen], labels=scene['classes'][chosen])
        for chosen in (~ignored, ignored)
    )
    return LLAAssigner(**kwargs).assign(pred, gt, ignore)


def gt_inds_of(owner, ignored):
    """Return the answer of the oracle as gt_inds."""
    number = torch.where(ignored, -1, (~ignored).cumsum(0))
    return torch.cat([number, number.new_zeros(1)])[owner]


@pytest.mark.parametrize('name', ASSIGN)
def test_assignment_equals_the_reference(name):
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


@pytest.mark.parametrize('size', [3.0, 40.0])
def test_equal_costs_select_the_lower_index(size):
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


def test_contested_priors_go_to_the_cheapest_gt():
    """Gts 0 and 1 contest the prior inside them; gt 2 is cheaper there and wins it, though full."""
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


def test_box_types_of_mmdet_are_read():
    scene = make_scene(6, 'anchors', 10, 1, spread=2.0, size=40.0)
    wrapped = {**scene, **{k: HorizontalBoxes(scene[k]) for k in ('priors', 'preds')}}
    assert torch.equal(assign(wrapped).gt_inds, assign(scene).gt_inds)


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
