"""Assignments of any detector are recorded without changing it."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from tiny_crowd import HEADS

from mmdet_lla.analysis.assignment_stats import compute_candidates
from mmdet_lla.analysis.recording import compute_assignments, find_assigner_head, record_assignments

ROOT = Path(__file__).parents[2]


def build(name: str):
    cfg = Config.fromfile(f'configs/demo/{name}_mobilenetv2_fpn_1xb4-12e_crowd.py').model
    cfg.backbone.update(init_cfg=None, norm_eval=False, widen_factor=0.25)
    cfg.neck.in_channels = [8, 24, 80]
    return MODELS.build(cfg)


def build_head(name: str):
    cfg = Config.fromfile(ROOT / 'configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py').model
    cfg.backbone.update(init_cfg=None, widen_factor=0.25)
    cfg.neck.in_channels = [8, 24, 80]
    cfg.bbox_head, cfg.train_cfg = HEADS[name]
    return MODELS.build(cfg)


def sample(
    seed: int, height: int = 96, width: int = 128, boxes: tuple = ((10.0, 10.0, 40.0, 80.0),)
) -> dict:
    torch.manual_seed(seed)
    shape = dict(img_shape=(height, width), ori_shape=(height, width))
    data = DetDataSample(metainfo=shape)
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.zeros(len(boxes), dtype=torch.long)
    )
    data.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return dict(
        inputs=torch.randint(0, 255, (3, height, width), dtype=torch.uint8), data_samples=data
    )


@pytest.mark.parametrize('name', ['lla-fcos', 'lla-retinanet', 'atss'])
def test_one_assignment_per_image_and_no_side_effects(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = build(name).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calls = compute_assignments(model, [sample(0), sample(1)])
    assert len(calls) == 2
    for call in calls:
        assert len(call.result.gt_inds) == len(call.pred_instances.priors)
        assert (call.result.gt_inds == 1).any() and len(call.gt_instances.bboxes) == 1
        assert call.strides == (8, 16, 32, 64, 128)
        assert call.levels.bincount().tolist() == [192, 48, 12, 4, 1]
    assert not model.training and 'assign' not in vars(model.bbox_head.assigner)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('name', ['retina', 'atss', 'rtmdet'])
def test_levels_are_known_when_some_priors_are_excluded(name):
    """In a batch of unequal images, the priors of the smaller one are a part of the grid."""
    small, large = compute_assignments(build_head(name), [sample(0, 64, 96), sample(1)])
    assert large.levels.bincount().tolist() == [192, 48, 12, 4, 1]
    assert small.levels.bincount(minlength=5).tolist() == [96, 24, 6, 2, 1]
    (alone,) = compute_assignments(build_head(name), [sample(0, 64, 96)])
    assert torch.equal(alone.pred_instances.priors, small.pred_instances.priors)
    assert torch.equal(alone.levels, small.levels)


def test_priors_off_the_grid_have_no_level():
    head = build_head('retina').bbox_head
    with record_assignments(head) as calls:
        head(tuple(torch.zeros(1, 96, side, side) for side in (16, 8, 4, 2, 1)))
        priors = torch.tensor(
            [[-32.0, -32.0, 32.0, 32.0], [0.5, 0.0, 1.0, 1.0], [-56.0, -64.0, 72.0, 64.0]]
        )
        head.assigner.assign(InstanceData(priors=priors), sample(0)['data_samples'].gt_instances)
    assert calls[0].levels.tolist() == [0, -1, -1]


def test_candidates_are_the_k_cheapest_priors():
    boxes = ((10.0, 10.0, 40.0, 80.0), (20.0, 12.0, 50.0, 82.0), (0.0, 0.0, 3.0, 3.0))
    model = build_head('lla')
    (call,) = compute_assignments(model, [sample(0, boxes=boxes)])
    taken = compute_candidates(call)
    assert taken.sum(1).tolist() == [model.bbox_head.assigner.topk] * 3
    # A prior that one box alone wants is that box's.
    only = taken.sum(0) == 1
    assert torch.equal(call.result.gt_inds[only], taken.int().argmax(0)[only] + 1)
    assert not (call.result.gt_inds[taken.sum(0) == 0] > 0).any()


def test_ignored_gts_have_no_candidates():
    one = sample(0)
    one['data_samples'].ignored_instances = InstanceData(
        bboxes=torch.tensor([[60.0, 10.0, 100.0, 80.0]]), labels=torch.tensor([0])
    )
    model = build_head('lla')
    (call,) = compute_assignments(model, [one])
    assert (call.result.gt_inds == -1).any()
    assert compute_candidates(call).sum() == model.bbox_head.assigner.topk


def test_recordings_may_end_in_any_order():
    model = build_head('lla')
    first, second = record_assignments(model.bbox_head), record_assignments(model.bbox_head)
    calls = first.__enter__(), second.__enter__()
    compute_assignments(model, [sample(0)])
    first.__exit__(None, None, None)
    compute_assignments(model, [sample(0)])
    second.__exit__(None, None, None)
    assert [len(one) for one in calls] == [1, 2]
    assert 'assign' not in vars(model.bbox_head.assigner)


def test_both_assigners_of_tood_are_recorded(monkeypatch):
    model = build_head('tood')
    for epoch, assigner in ((0, 'initial_assigner'), (1, 'alignment_assigner')):
        monkeypatch.setattr(
            'mmdet.models.dense_heads.tood_head.MessageHub.get_current_instance',
            lambda epoch=epoch: dict_with_info(epoch=epoch),
        )
        seen = []
        watched = getattr(model.bbox_head, assigner)
        assign = watched.assign
        watched.assign = lambda *args, assign=assign, seen=seen: seen.append(1) or assign(*args)
        calls = compute_assignments(model, [sample(0)])
        assert len(seen) == len(calls) == 1


def dict_with_info(**info):
    """Return the part of a MessageHub that a head reads."""
    return type('Hub', (), dict(get_info=lambda self, key: info[key]))()


def test_the_rpn_of_a_two_stage_detector_is_recorded():
    cfg = Config.fromfile(
        ROOT / 'configs/baselines/faster-rcnn_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
    ).model
    cfg.backbone.update(init_cfg=None, depth=18)
    cfg.neck.in_channels = [64, 128, 256, 512]
    model = MODELS.build(cfg)
    assert find_assigner_head(model) is model.rpn_head
    (call,) = compute_assignments(model, [sample(0)])
    assert (call.result.gt_inds == 1).any() and call.levels.max() == len(call.strides) - 1


def test_a_detector_without_assigner_is_named():
    cfg = Config.fromfile(
        ROOT / 'configs/baselines/fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
    ).model
    cfg.backbone.init_cfg = None
    with pytest.raises(ValueError, match='FCOS.*FCOSHead.*has no assigner'):
        find_assigner_head(MODELS.build(cfg))
