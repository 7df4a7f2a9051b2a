"""Every config of configs/ablations/ota turns the one thing that it is about."""

import inspect

import pytest

from mmdet_lla.assigners import OTAAssigner

from .test_knob_configs import CONFIGS, head_of, make_batch, read

FOLDER = CONFIGS / 'ablations/ota'
BASE = 'ablations/assigners/lla-fcos_mobilenetv2_fpn_ota_1xb4-12e_crowd.py'

#: What each config's assigner has otherwise than the base's.
TURNED = {
    'top10': dict(candidate_topk=10),
    'radius1.5': dict(center_radius=1.5),
    'cls2': dict(cls_weight=2.0),
    'reg3': dict(reg_weight=3.0),
    'eps0.5': dict(sinkhorn_eps=0.5),
    'iters10': dict(sinkhorn_iters=10),
    'ignore-overlap': dict(ignore='overlap'),
    'ignore-unused': dict(ignore='unused'),
}


def settings_of(assigner) -> dict:
    names = inspect.signature(OTAAssigner.__init__).parameters
    return {name: getattr(assigner, name) for name in names if name != 'self'}


def path_of(name):
    return FOLDER / f'lla-fcos_mobilenetv2_fpn_ota-{name}_1xb4-12e_crowd.py'


def test_every_config_is_tested_here():
    assert set(FOLDER.glob('*.py')) == {path_of(name) for name in TURNED}


def test_the_base_has_the_papers_settings():
    own = settings_of(head_of(read(BASE)).assigner)
    assert own == settings_of(OTAAssigner(prior_form='points'))


@pytest.mark.parametrize('name', TURNED)
def test_one_knob_is_turned(name):
    base, cfg = read(BASE), read(path_of(name))
    head = head_of(cfg)
    own, turned = settings_of(head_of(base).assigner), settings_of(head.assigner)
    assert {knob: turned[knob] for knob in turned if turned[knob] != own[knob]} == TURNED[name]
    _, outs, *rest = make_batch(head)
    losses = head.loss_by_feat(*outs, *rest)
    assert all(loss.isfinite() for loss in losses.values()) and losses['loss_bbox'] > 0
    # Nothing else of the whole config differs.
    cfg.model.train_cfg.assigner = base.model.train_cfg.assigner
    assert cfg.to_dict() == base.to_dict()
