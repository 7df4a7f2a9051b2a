"""The costs of costs.py equal the focal loss, cross entropy and IoU of mmdet and torch."""

import numpy as np
import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmdet.structures.bbox import bbox_overlaps
from torch.nn import functional as F

from mmdet_lla.assigners import costs
from mmdet_lla.assigners.costs import REG_COSTS, base_cost, bce_loss, focal_loss
from mmdet_lla.assigners.geometry import pair_iou, with_area


def class_costs(scores, loss):
    """Return the costs of all priors for a gt of every class, (num_priors, num_classes)."""
    base = base_cost(scores[None], loss).unsqueeze(1)
    return base if scores.size(1) == 1 else loss.of_class(base, scores)


def random_boxes(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * 100
    return torch.cat([corner, corner + torch.rand(count, 2, generator=rng) * 50], 1)


@pytest.mark.parametrize('alpha, gamma', [(0.25, 2.0), (0.5, 0.0), (0.75, 1.5)])
@pytest.mark.parametrize('num_classes', [1, 3])
def test_cost_of_a_class_is_the_focal_loss_summed_over_classes(alpha, gamma, num_classes):
    scores = torch.linspace(-30, 30, 50 * num_classes).view(-1, num_classes)
    table = class_costs(scores, focal_loss(alpha, gamma, 'logits'))
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
    table = class_costs(scores, bce_loss(form))
    entropy = F.binary_cross_entropy if form == 'probs' else F.binary_cross_entropy_with_logits
    for label in range(num_classes):
        target = F.one_hot(torch.full((50,), label), num_classes).double()
        loss = entropy(scores.double(), target, reduction='none')
        torch.testing.assert_close(table[:, label], loss.sum(1).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('form', ['logits', 'probs'])
@pytest.mark.parametrize('loss', [focal_loss, bce_loss])
def test_sure_scores_have_finite_costs(loss, form):
    loss = loss(form=form) if loss is bce_loss else loss(0.25, 2.0, form)
    scores = torch.tensor([0.0, 1.0]) if form == 'probs' else torch.tensor([-3000.0, 3000.0])
    for num_classes in (1, 2):
        table = class_costs(scores.view(-1, num_classes), loss)
        assert ((table >= 0) & (table < 1e4)).all()
    most = loss.max_positive(scores.numpy().astype(np.float64))
    assert (loss.positive(scores) <= torch.from_numpy(most) + 1e-4).all()
    if form == 'probs':
        assert loss.positive(scores).tolist() == pytest.approx([most[0], 0])


def test_chunks_leave_no_seam(monkeypatch):
    scores = torch.randn(5007, 3, generator=torch.Generator().manual_seed(0))
    whole = class_costs(scores, focal_loss(0.25, 2.0, 'logits'))
    monkeypatch.setattr(costs, 'SCORE_CHUNK', 1000)
    torch.testing.assert_close(class_costs(scores, focal_loss(0.25, 2.0, 'logits')), whole)


def test_scores_are_left_as_they_are():
    for num_classes in (1, 2):
        scores = torch.rand(6, num_classes)
        before = scores.clone()
        for form in ('logits', 'probs'):
            class_costs(scores, focal_loss(0.25, 2.0, form))
            class_costs(scores, bce_loss(form))
            assert torch.equal(scores, before)


def test_iou_equals_mmdet():
    boxes1, boxes2 = random_boxes(40), random_boxes(40, 1)
    torch.testing.assert_close(
        pair_iou(with_area(boxes1), with_area(boxes2)),
        bbox_overlaps(boxes1, boxes2, is_aligned=True),
    )
    torch.testing.assert_close(
        pair_iou(with_area(boxes1).unsqueeze(-1), with_area(boxes2)), bbox_overlaps(boxes1, boxes2)
    )


def test_box_costs_equal_mmdet():
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


def test_boxes_without_area_overlap_nothing():
    boxes = with_area(
        torch.tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 3.0, 3.0], [0.0, 0.0, 10.0, 10.0]])
    )
    iou = pair_iou(boxes.unsqueeze(-1), boxes)
    assert torch.equal(iou, torch.diag(torch.tensor([0.0, 0.0, 1.0])))
    for cost, most in REG_COSTS.values():
        assert (cost(boxes.unsqueeze(-1), boxes) <= most).all()
