"""Every config builds, and the recipes are what they say they are."""

import inspect
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.nn.modules.utils import _pair

from mmdet_lla.ablation.variants import diff_configs
from mmdet_lla.assigners import LLAAssigner, POTOAssigner

CONFIGS = Path(__file__).parents[1] / 'configs'
DIRECTORIES = ('lla', 'lla_s', 'baselines', 'demo')
ALL = sorted(
    path.relative_to(CONFIGS)
    for directory in DIRECTORIES
    for path in (CONFIGS / directory).glob('*.py')
)
SHIPPED = sorted(
    path.relative_to(CONFIGS)
    for path in CONFIGS.glob('**/*.py')
    if '_base_' not in path.relative_to(CONFIGS).parts
)
RECIPES = [path for path in ALL if path.parent.name not in ('demo', 'lla_s')]


def read(path) -> Config:
    cfg = Config.fromfile(CONFIGS / path)
    cfg.model.backbone.init_cfg = None
    return cfg


@cache
def strides_of_features(backbone_and_neck: str) -> list[int]:
    """Strides of the feature maps that come out of a backbone and a neck, given as JSON."""
    backbone, neck = map(MODELS.build, json.loads(backbone_and_neck))
    backbone.eval()
    with torch.no_grad():
        feats = neck(backbone(torch.zeros(1, 3, 128, 128)))
    return [128 // feat.shape[-1] for feat in feats]


def strides_believed(model) -> dict[str, list]:
    """Return the strides that each part of the model after the neck assumes."""
    believed = {}
    for name in {'bbox_head', 'rpn_head'} & set(model):
        head = MODELS.build(model[name])
        believed[name] = head.prior_generator.strides
        believed[f'{name} itself'] = getattr(head, 'strides', head.prior_generator.strides)
    if 'roi_head' in model:
        believed['roi_head'] = model.roi_head.bbox_roi_extractor.featmap_strides
    return believed


@pytest.mark.parametrize('path', SHIPPED, ids=str)
def test_heads_believe_in_the_strides_of_the_features_they_get(path):
    """mmdet's FCOSHead and others have a default, which is that of another pyramid."""
    cfg = read(path)
    assert cfg.custom_imports['imports'] == ['mmdet_lla']
    model = cfg.model
    strides = strides_of_features(json.dumps([model.backbone, model.neck]))
    believed = strides_believed(model)
    assert believed
    for name, theirs in believed.items():
        levels = strides[: len(theirs)] if name == 'roi_head' else strides  # which leaves out P6
        assert [_pair(stride) for stride in theirs] == [_pair(stride) for stride in levels], name


@pytest.mark.parametrize('path', RECIPES, ids=str)
def test_recipes_share_the_papers_schedule(path):
    cfg = read(path)
    assert path.stem.endswith('_8xb2-30k_crowdhuman')
    assert cfg.train_cfg.max_iters == 28125
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, warmup.start_factor) == (1000, 0.001)
    assert steps.milestones == [18750, 24375] and steps.gamma == 0.1
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('SGD', 0.01, 1e-4)
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    assert not cfg.default_hooks.checkpoint.by_epoch
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if t['type'] == 'Resize')
    assert tuple(resize['scale']) == (1400, 800) and resize['keep_ratio']
    assert cfg.model.data_preprocessor.mean == [103.53, 116.28, 123.675]
    assert not cfg.model.data_preprocessor.bgr_to_rgb
    assert cfg.model.backbone.style == 'caffe'
    test_cfg = cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg)
    assert test_cfg.score_thr == 0.05 and test_cfg.max_per_img == 300


@pytest.mark.parametrize('form', ['fcos', 'retinanet'])
def test_lla_is_the_released_one(form):
    model = read(f'lla/lla-{form}_r50-caffe_fpn_8xb2-30k_crowdhuman.py').model
    assert model.test_cfg.nms.iou_threshold == 0.6 and model.test_cfg.nms_pre == 1000
    assert model.test_cfg.min_bbox_size < 0 and model.test_cfg.clip_detections
    assert model.neck.relu_before_extra_convs and model.neck.add_extra_convs == 'on_output'
    head = MODELS.build({**model.bbox_head, 'train_cfg': model.train_cfg})
    assert (head.assigner.topk, head.assigner.reg_weight) == (10, 1.5)
    assert head.with_points == (form == 'fcos') and not head.bbox_coder.clip_border
    assert all(conv.conv.bias is not None and conv.gn.num_groups == 32 for conv in head.cls_convs)
    assert head.loss_bbox.loss_weight == 2.0 and head.loss_iou.loss_weight == 0.5
    assert len(head.cls_convs) == len(head.reg_convs) == 4


@pytest.mark.parametrize('form', ['fcos', 'retinanet'])
def test_boxes_of_the_demo_start_at_the_size_of_anchors(form):
    head = MODELS.build(read(f'demo/lla-{form}_mobilenetv2_fpn_1xb4-12e_crowd.py').model).bbox_head
    head.init_weights()
    sizes = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    with torch.no_grad():
        preds = head([torch.zeros(1, 96, *size) for size in sizes])[1]
    priors = head.prior_generator.grid_priors(sizes, device='cpu')
    for stride, pred, prior in zip((8, 16, 32, 64, 128), preds, priors, strict=True):
        boxes = head.bbox_coder.decode(prior, pred[0].permute(1, 2, 0).reshape(-1, 4))
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt() / stride
        assert torch.allclose(side, torch.full_like(side, 8.0 if form == 'fcos' else 4.0), rtol=0.1)


@pytest.mark.parametrize(
    'name, assigner, one_to_one',
    [
        ('knobs/{}_center', LLAAssigner(candidates='center', prior_form='points'), None),
        ('knobs/{}_simota', LLAAssigner.simota(), None),
        ('one_to_one/{}_dual', LLAAssigner(), dict(detach=True)),
        ('one_to_one/{}_dual-attached', LLAAssigner(), dict(detach=False)),
        ('one_to_one/{}_poto-no-nms', POTOAssigner(), None),
    ],
)
def test_ablations_change_only_what_their_names_say(name, assigner, one_to_one):
    path = f'ablations/{name.format("lla-fcos_mobilenetv2_fpn")}_1xb4-12e_crowd.py'
    cfg, base = read(path), read('demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py')
    parts = dict(train_cfg=cfg.model.train_cfg, test_cfg=cfg.model.test_cfg)
    head = MODELS.build({**cfg.model.bbox_head, **parts})
    settings = [*inspect.signature(type(assigner).__init__).parameters][1:]
    assert type(head.assigner) is type(assigner)
    for setting in settings:
        assert getattr(head.assigner, setting) == getattr(assigner, setting), setting
    assert head.needs_nms == name.startswith('knobs')
    assert (head.one_to_one is None) == (one_to_one is None)
    if one_to_one:
        assert isinstance(head.one_to_one.assigner, POTOAssigner)
        assert head.one_to_one.detach == one_to_one['detach']
    changed = set(diff_configs(base, cfg))
    allowed = ('model.train_cfg.', 'model.test_cfg.nms', 'model.bbox_head.one_to_one')
    assert changed and all(key.startswith(allowed) for key in changed), changed
