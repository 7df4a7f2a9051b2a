"""Every ablation of assigners and heads trains an epoch on generated crowds, and is tested."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_lla.synthetic import CrowdParams, build_dataset

CONFIGS = Path(__file__).parents[1] / 'configs'
ASSIGNERS = dict(
    lla='LLAAssigner',
    maxiou='MaxIoUAssigner',
    atss='ATSSAssigner',
    ota='OTAAssigner',
    poto='POTOAssigner',
    simota='SimOTAAssigner',
    dynamicsoftlabel='DynamicSoftLabelAssigner',
    taskaligned='TaskAlignedAssigner',
    point='PointAssigner',
    centerregion='CenterRegionAssigner',
    hungarian='HungarianAssigner',
)
POINTS = 'ablations/assigners/lla-fcos_mobilenetv2_fpn_{}_1xb4-12e_crowd.py'
HEADS = dict(
    yolox={'loss_cls', 'loss_bbox', 'loss_obj'},
    rtmdet={'loss_cls', 'loss_bbox'},
    tood={'loss_cls', 'loss_bbox'},
    ddod={'loss_cls', 'loss_bbox', 'loss_iou'},
)
ANCHORS = 'demo/lla-retinanet_mobilenetv2_fpn_1xb4-12e_crowd.py'


class Losses(Hook):
    """Notes the losses of every step."""

    def __init__(self) -> None:
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: value.item() for name, value in outputs.items()})


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """Half of the time of so short a training goes into printing its config.

    Networks as small gain nothing from a second thread, and lose much where cores are busy.
    """
    monkeypatch.setattr(Config, 'pretty_text', '')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def crowds(tmp_path_factory):
    folder = tmp_path_factory.mktemp('crowds')
    build_dataset(str(folder), 8, 4, CrowdParams(width=160, height=120), progress=False)
    return folder


def shrink(cfg: Config, crowds: Path, work_dir: Path) -> Config:
    """The same config on tiny images, one epoch, no pretrained weights."""
    load, boxes = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
    resize = dict(type='Resize', scale=(160, 120), keep_ratio=True)
    pack = dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    for loader, pipeline in (
        (cfg.train_dataloader, [load, boxes, resize, pack]),
        (cfg.val_dataloader, [load, resize, boxes, pack]),
    ):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(crowds), pipeline=pipeline, serialize_data=False)
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=1, val_interval=1),
            val_evaluator=dict(ann_file=str(crowds / 'annotation_val.odgt')),
            work_dir=str(work_dir),
            default_scope='mmdet',
            log_level='ERROR',
            experiment_name=work_dir.name,
        )
    )
    cfg.default_hooks.checkpoint = None
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.model.backbone.update(widen_factor=0.25, frozen_stages=-1, norm_eval=False, init_cfg=None)
    cfg.model.neck.in_channels = [8, 24, 80]
    return cfg


def train(cfg: Config) -> tuple[list[dict], dict]:
    """Losses of every step and the metrics after the epoch."""
    runner, losses = Runner.from_cfg(cfg), Losses()
    runner.register_hook(losses)
    runner.train()
    history = runner.message_hub.log_scalars
    return losses.seen, {
        name: log.current() for name, log in history.items() if name.startswith('val/')
    }


def check(losses: list[dict], metrics: dict, names: set) -> None:
    assert len(losses) == 2
    for step in losses:
        assert names <= set(step), step
        assert all(math.isfinite(value) for value in step.values()), step
    assert {f'val/crowd_human/{name}' for name in ('mAP', 'mMR', 'JI')} <= set(metrics)


def test_every_ablation_is_trained_here():
    stems = {
        path.stem.split('_1xb4')[0]
        for folder in ('assigners', 'heads')
        for path in (CONFIGS / 'ablations' / folder).glob('*.py')
    }
    assert stems == {f'lla-fcos_mobilenetv2_fpn_{name}' for name in ASSIGNERS} | {
        f'{head}{form}_mobilenetv2_fpn' for head in HEADS for form in ('', '-lla')
    }


@pytest.mark.slow
@pytest.mark.parametrize('form', ['points', 'anchors'])
@pytest.mark.parametrize('name', ASSIGNERS)
def test_head_trains_under_any_assigner(crowds, tmp_path, name, form):
    cfg = Config.fromfile(CONFIGS / POINTS.format(name))
    assert cfg.model.train_cfg.assigner.type == ASSIGNERS[name]
    if form == 'anchors':
        assigner = cfg.model.train_cfg.assigner
        cfg = Config.fromfile(CONFIGS / ANCHORS)
        cfg.model.train_cfg.assigner = assigner
    losses, metrics = train(shrink(cfg, crowds, tmp_path))
    check(losses, metrics, {'loss_cls', 'loss_bbox', 'loss_iou'})
    assert any(step['loss_bbox'] > 0 and step['loss_iou'] > 0 for step in losses)


@pytest.mark.slow
@pytest.mark.parametrize('form', ['', '-lla'])
@pytest.mark.parametrize('head', HEADS)
def test_other_heads_train_under_lla_and_under_their_own(crowds, tmp_path, head, form):
    cfg = Config.fromfile(
        CONFIGS / f'ablations/heads/{head}{form}_mobilenetv2_fpn_1xb4-12e_crowd.py'
    )
    assert cfg.model.train_cfg.assigner.type.endswith('LLAAssigner') == bool(form)
    losses, metrics = train(shrink(cfg, crowds, tmp_path))
    check(losses, metrics, HEADS[head])
    assert any(step['loss_bbox'] > 0 for step in losses)
