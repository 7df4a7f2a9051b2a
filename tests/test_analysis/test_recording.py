"""Any detector's assignments can be read from outside, and nothing of it changes."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_lla.analysis.recording import assignments_of, recorded

ROOT = Path(__file__).parents[2]


def build(name: str):
    cfg = Config.fromfile(f'configs/demo/{name}_mobilenetv2_fpn_1xb4-12e_crowd.py').model
    cfg.backbone.update(init_cfg=None, norm_eval=False, widen_factor=0.25)
    cfg.neck.in_channels = [8, 24, 80]
    return MODELS.build(cfg)


def sample(seed: int) -> dict:
    torch.manual_seed(seed)
    data = DetDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)))
    data.gt_instances = InstanceData(bboxes=torch.tensor([[10., 10., 40., 80.]]),
                                     labels=torch.tensor([0]))
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4),
                                          labels=torch.zeros(0, dtype=torch.long))
    return dict(inputs=torch.randint(0, 255, (3, 96, 128), dtype=torch.uint8), data_samples=data)


@pytest.mark.parametrize('name', ['lla-fcos', 'lla-retinanet', 'atss'])
def test_one_assignment_a_picture_and_no_trace(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = build(name).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calls = assignments_of(model, [sample(0), sample(1)])
    assert len(calls) == 2
    for call in calls:
        assert len(call.result.gt_inds) == len(call.pred_instances.priors)
        assert (call.result.gt_inds == 1).any() and len(call.gt_instances.bboxes) == 1
    assert not model.training and 'assign' not in vars(model.bbox_head.assigner)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_head_without_assigner_is_named():
    with pytest.raises(ValueError, match='Linear has no assigner'), recorded(torch.nn.Linear(1, 1)):
        pass
