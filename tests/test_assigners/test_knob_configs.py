"""Each config of configs/ablations/knobs changes only what its name says."""

import inspect
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_lla import LLAAssigner

CONFIGS = Path(__file__).parents[2] / 'configs'
BASE = 'demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'


def read(path) -> Config:
    cfg = Config.fromfile(CONFIGS / path)
    cfg.model.backbone.init_cfg = None
    return cfg


def build_assigner(cfg) -> LLAAssigner:
    return MODELS.build({**cfg.model.bbox_head, 'train_cfg': cfg.model.train_cfg}).assigner


def settings_of(assigner) -> dict:
    return {
        name: getattr(assigner, name)
        for name in inspect.signature(LLAAssigner.__init__).parameters
        if name != 'self'
    }


@pytest.mark.parametrize(
    'name, expected',
    [
        ('center', LLAAssigner(candidates='center', prior_form='points')),
        ('simota', LLAAssigner.simota()),
    ],
)
def test_config_changes_the_assigner_only(name, expected):
    cfg = read(f'ablations/knobs/lla-fcos_mobilenetv2_fpn_{name}_1xb4-12e_crowd.py')
    assert settings_of(build_assigner(cfg)) == settings_of(expected)
    base = read(BASE)
    cfg.model.train_cfg.assigner = base.model.train_cfg.assigner
    assert cfg.to_dict() == base.to_dict()
