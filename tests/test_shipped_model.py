"""The shipped detector works without training or download."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from mmdet_lla.inference import Predictor
from mmdet_lla.models import shipped_model
from mmdet_lla.synthetic import CrowdParams, make_scene
from mmdet_lla.utils.boxes import box_iou

CONFIGS = Path(__file__).parents[1] / 'configs'
#: Config that each model was trained by, and the one to fine-tune it.
FILES = {
    'lla-n': (
        'lla-n_mobilenetv2_fpn_1xb4-10k_crowd.py',
        'lla-n_mobilenetv2_fpn_1xb2-12e_people.py',
    ),
    'lla-s': ('lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py', 'lla-s_mobilenetv2_fpn_1xb2-12e_people.py'),
}


@pytest.fixture(scope='module', params=FILES)
def name(request):
    return request.param


@pytest.fixture(scope='module')
def predictor(name):
    return Predictor(name, device='cpu')


def read_config(name, index):
    return Config.fromfile(CONFIGS / name.replace('-', '_') / FILES[name][index])


def test_the_file_is_small_and_named_after_its_content(name):
    data = shipped_model(name).read_bytes()
    assert len(data) <= 8_000_000
    assert shipped_model(name).stem.endswith('-' + hashlib.sha256(data).hexdigest()[:8])


def test_it_finds_people_in_crowds_it_has_not_seen(predictor):
    found = true = people = 0
    for seed in range(4):
        scene = make_scene(np.random.default_rng([77, seed]), CrowdParams(people=10))
        boxes = np.array([p.fbox for p in scene.people if not p.ignore])
        boxes = boxes.clip(0, (640, 480, 640, 480))
        result = predictor(scene.image)
        hits = box_iou(boxes, np.asarray(result.boxes, float)) > 0.5
        people += len(boxes)
        true += hits.any(1).sum()
        found += len(result.boxes)
    assert true / people > 0.6
    assert true / found > 0.8


def test_it_calls_an_empty_street_empty(predictor):
    scene = make_scene(
        np.random.default_rng(5), CrowdParams(people=0, far_crowd=0, fakes=0, clutter=(0, 2))
    )
    assert len(predictor(scene.image).boxes) <= 2


def test_fine_tuning_starts_from_its_weights(name):
    cfg = read_config(name, 1)
    model = MODELS.build(cfg.model)
    model.init_weights()  # reads no other weights
    load_checkpoint(model, cfg.load_from, map_location='cpu', strict=True)
    held = torch.load(shipped_model(name), weights_only=True)['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(value, held[key].to(value.dtype)), key


def test_earlier_file_name_is_read():
    assert shipped_model('lla-s_6MB-eebdef0e') == shipped_model('lla-s')


def test_a_model_that_does_not_ship_is_named():
    with pytest.raises(ValueError, match="no model 'lla-x' ships, choose from: lla-n, lla-s"):
        load_checkpoint(torch.nn.Identity(), 'mmdet_lla://lla-x')


def test_it_ships_with_the_config_that_the_repository_holds(predictor, name):
    cfg = read_config(name, 0)
    mine = predictor.detector.cfg
    mine_cfg, test_cfg = (dict(one.model.test_cfg) for one in (mine, cfg))
    for one in (mine_cfg, test_cfg):
        one['score_calibration'] = tuple(one['score_calibration'])
    assert mine_cfg == test_cfg
    assert read_config(name, 1).model.test_cfg.get('score_calibration') is None  # fine-tuning
    assert mine.model.bbox_head.feat_channels == cfg.model.bbox_head.feat_channels
    resize = [s for s in cfg.test_dataloader.dataset.pipeline if s.type == 'Resize']
    held = [s for s in mine.test_dataloader.dataset.pipeline if s.type == 'Resize']
    assert tuple(held[0].scale) == tuple(resize[0].scale)


def test_last_layer_of_its_backbone_is_neither_loaded_nor_run(predictor, name):
    """The layer feeds no output, and has 0.4 million of the parameters of the file."""
    model = predictor.detector.model
    assert model.backbone.layers[-1] == 'layer7' and not hasattr(model.backbone, 'conv2')
    cfg = predictor.detector.cfg
    whole = MODELS.build(cfg.model).eval()
    load_checkpoint(whole, str(shipped_model(name)), map_location='cpu', strict=True)
    sizes = [sum(one.numel() for one in part.parameters()) for part in (whole, model)]
    assert sizes[0] - sizes[1] > 400_000
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(whole.backbone(images), model.backbone(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
