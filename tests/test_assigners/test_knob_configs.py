"""Every config of configs/ablations/knobs turns the one thing that it is about."""

import inspect
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

CONFIGS = Path(__file__).parents[2] / 'configs'
KNOBS = CONFIGS / 'ablations/knobs'
BASE = 'demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
CENTRE = dict(candidates='center', prior_form='points')
SIMOTA = dict(
    CENTRE,
    topk='dynamic',
    reg_weight=3.0,
    cls_cost='bce',
    reg_cost='iou_plus_eps',
    ignore='unused',
    outside_penalty=1e5,
    ties='topk',
    score_form='probs',
)

#: What each config's assigner has otherwise than the base's.
TURNED = dict(
    k1=dict(topk=1),
    k5=dict(topk=5),
    k10={},
    k15=dict(topk=15),
    k20=dict(topk=20),
    kdynamic=dict(topk='dynamic'),
    **{f'reg{weight}': dict(reg_weight=float(weight)) for weight in ('0.5', '1', '2', '3')},
    bce=dict(cls_cost='bce'),
    giou=dict(reg_cost='giou'),
    center=CENTRE,
    all=dict(candidates='all'),
    picked=dict(contested='picked'),
    **{'ignore-overlap': dict(ignore='overlap'), 'ignore-unused': dict(ignore='unused')},
    simota=SIMOTA,
    **{'no-iou': {}},
)


def read(path) -> Config:
    cfg = Config.fromfile(CONFIGS / path)
    cfg.model.backbone.init_cfg = None
    return cfg


def path_of(name) -> str:
    return f'ablations/knobs/lla-fcos_mobilenetv2_fpn_{name}_1xb4-12e_crowd.py'


def head_of(cfg):
    return MODELS.build({**cfg.model.bbox_head, 'train_cfg': cfg.model.train_cfg})


def settings_of(assigner) -> dict:
    return {
        name: getattr(assigner, name)
        for name in inspect.signature(LLAAssigner.__init__).parameters
        if name != 'self'
    }


def test_every_config_is_tested_here():
    expected = {Path(path_of(name)).name for name in TURNED}
    expected.add('lla-retinanet_mobilenetv2_fpn_1xb4-12e_crowd.py')
    assert {path.name for path in KNOBS.glob('*.py')} == expected


@pytest.mark.parametrize('name', [name for name in TURNED if name != 'no-iou'])
def test_one_knob_is_turned(name):
    base, cfg = read(BASE), read(path_of(name))
    cost = settings_of(head_of(base).assigner)
    turned = settings_of(head_of(cfg).assigner)
    assert {knob: turned[knob] for knob in turned if turned[knob] != cost[knob]} == TURNED[name]
    # Nothing else of the whole config differs.
    cfg.model.train_cfg.assigner = base.model.train_cfg.assigner
    assert cfg.to_dict() == base.to_dict()


def test_the_head_on_anchor_boxes_is_the_demos():
    cfg = read(KNOBS / 'lla-retinanet_mobilenetv2_fpn_1xb4-12e_crowd.py')
    assert cfg.to_dict() == read('demo/lla-retinanet_mobilenetv2_fpn_1xb4-12e_crowd.py').to_dict()
    assert not head_of(cfg).with_points


def test_simota_by_config_is_simota():
    assigner = head_of(read(path_of('simota'))).assigner
    assert settings_of(assigner) == settings_of(LLAAssigner.simota())


def make_batch(head, size=64):
    """Random features, and a picture of three people."""
    rng = torch.Generator().manual_seed(0)
    feats = [torch.randn(1, 96, size // s, size // s, generator=rng) for s in (8, 16, 32)]
    feats += [torch.randn(1, 96, 1, 1, generator=rng) for _ in range(2)]
    gt = InstanceData(
        bboxes=torch.tensor([[4.0, 4.0, 30.0, 60.0], [20.0, 8.0, 44.0, 62.0]]),
        labels=torch.zeros(2, dtype=torch.long),
    )
    ignore = InstanceData(bboxes=torch.tensor([[40.0, 0.0, 60.0, 20.0]]))
    return feats, head.forward(feats), [gt], [dict(img_shape=(size, size))], [ignore]


@pytest.mark.parametrize('path', sorted(KNOBS.glob('*.py')), ids=lambda path: path.stem)
def test_head_and_assigner_understand_each_other(path):
    head = head_of(read(path))
    _, outs, *rest = make_batch(head)
    losses = head.loss_by_feat(*outs, *rest)
    assert all(loss.isfinite() for loss in losses.values())
    assert losses['loss_bbox'] > 0


def test_without_the_iou_branch_scores_are_those_of_the_class():
    base, cfg = read(BASE), read(path_of('no-iou'))
    heads = [head_of(cfg), head_of(base)]
    for head in heads:
        head.init_weights()
    optimizer = torch.optim.AdamW(heads[0].parameters(), lr=1e-2, weight_decay=0.05)
    for _ in range(3):
        feats, outs, *rest = make_batch(heads[0])
        losses = heads[0].loss_by_feat(*outs, *rest)
        assert losses['loss_iou'] == 0
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert all((ious.sigmoid() > 1 - 1e-6).all() for ious in heads[0](feats)[2])
    assert not all((ious.sigmoid() > 1 - 1e-6).all() for ious in heads[1](feats)[2])
    # Nothing but the branch's loss and beginning differs.
    cfg.model.bbox_head.pop('loss_iou')
    assert cfg.model.bbox_head.init_cfg.override.pop()['name'] == 'retina_iou'
    assert cfg.to_dict() == base.to_dict()
