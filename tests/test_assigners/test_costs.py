"""The identity of costs.py: the focal loss without the class axis; and IoU against mmdet's."""

from functools import partial

import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmdet.structures.bbox import bbox_overlaps
from torch.nn import functional as F

from mmdet_lla.assigners.costs import (
    REG_COSTS,
    SCORE_CHUNK,
    absent_cost,
    bce_loss,
    class_cost,
    focal_loss,
    pair_iou,
    with_area,
)


def class_costs(scores, alpha, gamma, form):
    """Of every prior against a box of every class, (num_priors, num_classes)."""
    return costs_by(partial(focal_loss, alpha=alpha, gamma=gamma, form=form), scores)


def costs_by(loss, scores):
    return class_cost(absent_cost(scores, loss).unsqueeze(1), scores, loss)


def random_boxes(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * 100
    return torch.cat([corner, corner + torch.rand(count, 2, generator=rng) * 50], 1)


@pytest.mark.parametrize('alpha, gamma', [(0.25, 2.0), (0.5, 0.0), (0.75, 1.5)])
@pytest.mark.parametrize('num_classes', [1, 3])
def test_cost_of_a_class_is_the_focal_loss_summed_over_classes(alpha, gamma, num_classes):
    scores = torch.linspace(-30, 30, 50 * num_classes).view(-1, num_classes)
    table = class_costs(scores, alpha, gamma, 'logits')
    assert table.shape == (50, num_classes)
    for label in range(num_classes):
        target = F.one_hot(torch.full((50,), label), num_classes).double()
        loss = py_sigmoid_focal_loss(
            scores.double(), target, gamma=gamma, alpha=alpha, reduction='none'
        )
        torch.testing.assert_close(table[:, label], loss.sum(1).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('num_classes', [1, 3, 80])
@pytest.mark.parametrize('form', ['logits', 'probs'])
def test_cross_entropy_is_torchs_summed_over_classes(num_classes, form):
    scores = torch.linspace(-12, 12, 50 * num_classes).view(-1, num_classes)
    if form == 'probs':
        scores = scores.sigmoid()
    table = costs_by(partial(bce_loss, form=form), scores)
    entropy = F.binary_cross_entropy if form == 'probs' else F.binary_cross_entropy_with_logits
    for label in range(num_classes):
        target = F.one_hot(torch.full((50,), label), num_classes).double()
        loss = entropy(scores.double(), target, reduction='none')
        torch.testing.assert_close(table[:, label], loss.sum(1).float(), rtol=1e-5, atol=1e-5)


def test_cross_entropy_of_sure_probabilities_is_bounded():
    scores = torch.tensor(
        [0.0, 1.0, -1.0, 2.0, float('nan')]
    )  # the last three are others' to report
    for present in (True, False):
        loss = bce_loss(scores, present, 'probs')
        assert ((loss >= 0) & (loss <= 100)).all()


def test_chunks_leave_no_seam():
    scores = torch.randn(SCORE_CHUNK // 2 + 7, 3, generator=torch.Generator().manual_seed(0))
    table = class_costs(scores, 0.25, 2.0, 'logits')
    parts = [class_costs(part, 0.25, 2.0, 'logits') for part in scores.split(1000)]
    torch.testing.assert_close(table, torch.cat(parts))


def test_logits_and_probabilities_cost_the_same():
    logits = torch.linspace(-8, 8, 33)
    for present in (True, False):
        torch.testing.assert_close(
            focal_loss(logits, present, 0.25, 2.0, 'logits'),
            focal_loss(logits.sigmoid(), present, 0.25, 2.0, 'probs'),
            rtol=1e-3,
            atol=1e-6,
        )


def test_sure_scores_have_finite_costs():
    for scores, form in (
        (torch.tensor([[0.0], [1.0]]), 'probs'),
        (torch.tensor([[-3000.0], [3000.0]]), 'logits'),
    ):
        assert class_costs(scores, 0.25, 2.0, form).isfinite().all()


def test_scores_are_left_as_they_are():
    scores = torch.rand(5, 2)
    before = scores.clone()
    for form in ('logits', 'probs'):
        class_costs(scores, 0.25, 2.0, form)
        assert torch.equal(scores, before)


def test_iou_is_mmdets():
    boxes1, boxes2 = random_boxes(40), random_boxes(40, 1)
    torch.testing.assert_close(
        pair_iou(with_area(boxes1), with_area(boxes2)),
        bbox_overlaps(boxes1, boxes2, is_aligned=True),
    )
    torch.testing.assert_close(
        pair_iou(with_area(boxes1).unsqueeze(-1), with_area(boxes2)), bbox_overlaps(boxes1, boxes2)
    )


def test_box_costs_are_those_of_mmdets_overlaps():
    boxes1, boxes2 = random_boxes(60), random_boxes(60, 1)
    ious = bbox_overlaps(boxes1, boxes2)
    assert (ious == 0).any() and (ious > 0.3).any()
    expected = dict(
        iou=-ious.clamp(min=torch.finfo(torch.float32).eps).log(),
        iou_plus_eps=-(ious + 1e-7).log(),
        giou=1 - bbox_overlaps(boxes1, boxes2, mode='giou'),
    )
    for name, (cost, most) in REG_COSTS.items():
        found = cost(with_area(boxes1).unsqueeze(-1), with_area(boxes2))
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)
        assert (found <= most).all()
        same = cost(with_area(boxes1), with_area(boxes1))
        torch.testing.assert_close(same, torch.zeros(60), rtol=0, atol=2e-6)
        assert (same >= 0).all()


def test_boxes_without_area_meet_nothing():
    boxes = with_area(
        torch.tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 3.0, 3.0], [0.0, 0.0, 10.0, 10.0]])
    )
    iou = pair_iou(boxes.unsqueeze(-1), boxes)
    assert torch.equal(iou, torch.diag(torch.tensor([0.0, 0.0, 1.0])))
    for cost, most in REG_COSTS.values():
        assert (cost(boxes.unsqueeze(-1), boxes) <= most).all()
