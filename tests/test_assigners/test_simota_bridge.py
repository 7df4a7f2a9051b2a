"""With the right knobs LLAAssigner is mmdet's SimOTAAssigner, prior for prior."""

import warnings

import pytest
import torch
from mmdet.models.task_modules import SimOTAAssigner
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

from .scenes import make_scene


def both(scene, labels=None, **kwargs):
    """The two results of one picture."""
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gt = InstanceData(bboxes=scene['boxes'], labels=scene['classes'])
    ignore = InstanceData(bboxes=scene['boxes'][:3] + 5.0)  # SimOTA does not look at them
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of mmdet's call of torch.cuda.amp
        theirs = SimOTAAssigner(**kwargs).assign(pred, gt, ignore)
    return LLAAssigner.simota(**kwargs).assign(pred, gt, ignore), theirs


def assert_same(ours, theirs):
    assert torch.equal(ours.gt_inds, theirs.gt_inds)
    assert torch.equal(ours.labels, theirs.labels)
    positive = theirs.gt_inds > 0
    torch.testing.assert_close(ours.max_overlaps[positive], theirs.max_overlaps[positive])
    assert ours.num_gts == theirs.num_gts


def simota_scene(seed, num_boxes, num_classes, size, height=256, width=320):
    scene = make_scene(seed, 'strided', num_boxes, num_classes, 2.0, size, height, width)
    scene['scores'] = scene['scores'].sigmoid()
    return scene


@pytest.mark.parametrize('num_classes', [1, 80])
@pytest.mark.parametrize('num_boxes', [0, 1, 50])
@pytest.mark.parametrize('size', [2.0, 20.0, 90.0])
def test_every_prior_goes_where_simota_sends_it(num_boxes, num_classes, size):
    for seed in range(6):
        ours, theirs = both(simota_scene(seed, num_boxes, num_classes, size))
        assert_same(ours, theirs)
        assert num_boxes == 0 or theirs.gt_inds.any() or num_boxes == 1


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
        assert_same(*both(simota_scene(seed, 30, 3, 40.0), **kwargs))


def test_boxes_that_hold_no_prior_and_perfect_predictions():
    """Their costs lie at 1e5 and more, where float32 rounds so that many are equal."""
    for seed in range(12):
        scene = simota_scene(seed, 50, 1, 3.0)
        rng = torch.Generator().manual_seed(seed)
        exact = torch.rand(len(scene['preds']), generator=rng) < 0.3
        box = torch.randint(50, (len(exact),), generator=rng)
        scene['preds'][exact] = scene['boxes'][box][exact]
        assert_same(*both(scene))


def test_no_prior_near_any_box():
    scene = simota_scene(0, 4, 1, 20.0)
    scene['boxes'] += 5000
    ours, theirs = both(scene)
    assert_same(ours, theirs)
    assert not ours.gt_inds.any()


def test_boxes_without_area_and_boxes_twice():
    scene = simota_scene(1, 12, 2, 60.0)
    scene['boxes'][:3, 2:] = scene['boxes'][:3, :2]
    scene['boxes'][3:6] = scene['boxes'][6:9]
    scene['classes'][3:6] = scene['classes'][6:9]
    assert_same(*both(scene))


def test_sure_probabilities():
    scene = simota_scene(2, 30, 2, 40.0)
    scene['scores'] = scene['scores'].round()
    assert_same(*both(scene))
