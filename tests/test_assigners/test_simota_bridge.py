"""LLAAssigner.simota equals mmdet's SimOTAAssigner, up to ties."""

import warnings

import pytest
import torch
from mmdet.models.task_modules import SimOTAAssigner
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

from .oracle import cost_table, dynamic_topk, excluded_priors, iou_table
from .scenes import make_scene


def tolerance(cost):
    """Return the resolution of float32 at a cost: 0.008 at SimOTA's penalty."""
    return torch.where(cost > 1e4, 0.02, 1e-5 + 1e-6 * cost)


def check(scene, center_radius=2.5, candidate_topk=10, iou_weight=3.0, cls_weight=1.0):
    """Compare both assigners, apart from gts whose K-th and next cheapest prior cost the same."""
    knobs = dict(
        center_radius=center_radius,
        candidate_topk=candidate_topk,
        iou_weight=iou_weight,
        cls_weight=cls_weight,
    )
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt = InstanceData(bboxes=scene['boxes'], labels=scene['classes'])
    ignore = InstanceData(bboxes=scene['boxes'][:3] + 5.0)  # SimOTA does not use them
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of mmdet's call of torch.cuda.amp
        theirs = SimOTAAssigner(**knobs).assign(pred, gt, ignore)
    ours = LLAAssigner.simota(**knobs).assign(pred, gt, ignore)
    assert ours.num_gts == theirs.num_gts
    if not len(gt):
        assert not ours.gt_inds.any() and not theirs.gt_inds.any()
        return ours

    points, reach = scene['points'], center_radius * scene['priors'][:, 2:]
    excluded, _ = excluded_priors(
        points, points, scene['boxes'], scene['boxes'][:0], 'center', reach, 0.5
    )
    ious = iou_table(scene['boxes'].double(), scene['preds'].double()).masked_fill(excluded, 0)
    topk, _ = dynamic_topk(ious, candidate_topk)
    cost = cost_table(
        points,
        scene['preds'],
        scene['scores'],
        scene['boxes'],
        scene['classes'],
        cls_weight,
        iou_weight,
        form='probs',
        candidates='center',
        reach=reach,
        cls_cost='bce',
        reg_cost='iou_plus_eps',
        penalty=1e5,
    ).masked_fill(excluded, torch.inf)
    ranked = cost.sort(1).values  # (num_gts, num_priors)
    last, following = (ranked.gather(1, (topk - i)[:, None])[:, 0] for i in (1, 0))
    tied = (following - last) < tolerance(last)  # (num_gts,)
    # Priors that a gt with a tie may take or leave, and those whose two cheapest gts cost the same.
    near = (cost - last[:, None]).abs() < tolerance(last)[:, None]
    open_priors = (near & tied[:, None]).any(0)
    if len(gt) > 1:
        cheapest = cost.sort(0).values
        open_priors |= ~((cheapest[1] - cheapest[0]) >= tolerance(cheapest[0]))
    same = ours.gt_inds == theirs.gt_inds
    assert (same | open_priors).all()
    positive = same & (theirs.gt_inds > 0)
    assert torch.equal(ours.labels[same], theirs.labels[same])
    torch.testing.assert_close(ours.max_overlaps[positive], theirs.max_overlaps[positive])
    return ours


def simota_scene(seed, num_boxes, num_classes, size, height=256, width=320):
    scene = make_scene(seed, 'strided', num_boxes, num_classes, 2.0, size, height, width)
    scene['scores'] = scene['scores'].sigmoid()
    return scene


@pytest.mark.parametrize('num_classes', [1, 80])
@pytest.mark.parametrize('num_boxes', [0, 1, 50])
@pytest.mark.parametrize('size', [2.0, 20.0, 90.0])
def test_assignment_equals_simota(num_boxes, num_classes, size):
    for seed in range(6):
        check(simota_scene(seed, num_boxes, num_classes, size))


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(center_radius=0.5),
        dict(candidate_topk=3),
        dict(candidate_topk=5000),
        dict(iou_weight=0.5, cls_weight=2.0),
    ],
    ids=str,
)
def test_under_other_arguments_too(kwargs):
    for seed in range(5):
        check(simota_scene(seed, 30, 3, 40.0), **kwargs)


def test_boxes_that_hold_no_prior_and_perfect_predictions():
    """Costs are 1e5 and more, where float32 rounds many to equal values."""
    for seed in range(12):
        scene = simota_scene(seed, 50, 1, 3.0)
        rng = torch.Generator().manual_seed(seed)
        exact = torch.rand(len(scene['preds']), generator=rng) < 0.3
        box = torch.randint(50, (len(exact),), generator=rng)
        scene['preds'][exact] = scene['boxes'][box][exact]
        check(scene)


def test_no_prior_near_any_box():
    scene = simota_scene(0, 4, 1, 20.0)
    scene['boxes'] += 5000
    assert not check(scene).gt_inds.any()


def test_boxes_without_area_and_boxes_twice():
    scene = simota_scene(1, 12, 2, 60.0)
    scene['boxes'][:3, 2:] = scene['boxes'][:3, :2]
    scene['boxes'][3:6] = scene['boxes'][6:9]
    scene['classes'][3:6] = scene['classes'][6:9]
    check(scene)


def test_sure_probabilities():
    scene = simota_scene(2, 30, 2, 40.0)
    scene['scores'] = scene['scores'].round()
    check(scene)
