"""Configs whose models compute what the networks of cvpods compute, and their checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from mmdet.models import FPN, FCOSHead, ResNet
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..heads import LLAHead
from .names import Conversion

STRIDES = [8, 16, 32, 64, 128]
_P6 = 'backbone.top_block.p6.weight'
_TYPES = dict(backbone=(ResNet,), neck=(FPN,), bbox_head=(LLAHead, FCOSHead))


def adapt_config(
    cfg: Config, weights: Mapping[str, Tensor], prior_offset: float | None = None
) -> tuple[Config, list[str]]:
    """Adapt a config to weights of cvpods.

    Args:
        cfg (Config): With LLAHead on points, or FCOSHead.
        weights (Mapping[str, Tensor]): Under cvpods' names.
        prior_offset (float, optional): Position of priors in their cell, 0 or 0.5 of a stride.
            Required for weights with a centerness branch. Weights with an IoU branch are LLA's,
            where it is 0.

    Returns:
        tuple[Config, list[str]]: A copy of the config, and a description of each change.

    Raises:
        ValueError: The offset is required and not given, or the head cannot have it.

    Example:
        >>> cfg, changes = adapt_config(Config(dict(model=dict())), {}, prior_offset=0.5)
        >>> changes
        []
    """
    cfg, changes = copy.deepcopy(cfg), []
    neck, head = cfg.model.get('neck', {}), cfg.model.get('bbox_head', {})
    if _P6 in weights and {'in_channels', 'out_channels'} <= set(neck):
        sources = {neck.in_channels[-1]: 'on_input', neck.out_channels: 'on_output'}
        source = sources.get(weights[_P6].shape[1], neck.get('add_extra_convs'))
        if source != neck.get('add_extra_convs'):
            neck.add_extra_convs = source
            level = {'on_input': 'C5', 'on_output': 'P5'}[source]
            changes.append(f'model.neck.add_extra_convs={source!r}: P6 is made from {level}')
    if prior_offset is None:
        if 'head.ious_pred.weight' not in weights:
            raise ValueError(
                'these weights do not tell where priors lie in their cell: give the prior offset, '
                "0 (LLA's repository and cvpods' default) or 0.5 (DeFCN's configs for CrowdHuman)"
            )
        prior_offset = 0
    kind = str(head.get('type')).rpartition('.')[2]
    if kind == 'FCOSHead' and prior_offset != 0.5:
        raise ValueError(
            f'these weights have their priors at offset {prior_offset}, FCOSHead at 0.5: take a '
            'config with LLAHead, which is the same network'
        )
    if kind == 'LLAHead' and head.get('anchor_generator', {}).get('offset', 0) != prior_offset:
        head.anchor_generator = {
            'type': 'MlvlPointGenerator',
            'strides': STRIDES,
            **head.get('anchor_generator', {}),
            'offset': prior_offset,
        }
        changes.append(f'model.bbox_head.anchor_generator.offset={prior_offset}')
    return cfg, changes


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config and check that it computes what that of cvpods does.

    Raises:
        ValueError: It does not; the message names each field, its value and the expected one.

    Example:
        >>> from mmdet_lla.named_configs import read_config
        >>> cfg = read_config('mmdet_lla::lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py')
        >>> type(build_model(cfg)).__name__  # doctest: +SKIP
        'RetinaNet'
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model_cfg = copy.deepcopy(cfg.model)
    if 'backbone' in model_cfg:
        model_cfg.backbone.init_cfg = None
    model = MODELS.build(model_cfg)
    for name, types in _TYPES.items():
        part = getattr(model, name, None)
        if not isinstance(part, types):
            expected = ' or '.join(one.__name__ for one in types)
            raise ValueError(
                f'the config does not fit: model.{name} is a {type(part).__name__}, '
                f'expected {expected}'
            )
    wrong = [
        f'model.{field} is {value!r}, expected {expected!r}'
        for field, value, expected in _list_settings(model)
        if value != expected
    ]
    if wrong:
        raise ValueError('the config does not fit: ' + '; '.join(wrong))
    return model


def make_checkpoint(conversion: Conversion, cfg: Config, source: str) -> dict:
    """Return the checkpoint that mmdet loads.

    Args:
        conversion (Conversion): See :func:`to_mmdet`.
        cfg (Config): Config of the model.
        source (str): Where the weights come from.

    Example:
        >>> conversion = Conversion({}, {}, [], [], [])
        >>> make_checkpoint(conversion, Config(dict(a=1)), 'model.pth')['meta']['source']
        'model.pth'
    """
    meta = dict(cfg=cfg.pretty_text, source=source)
    dataset = DATASETS.get(cfg.test_dataloader.dataset.type) if 'test_dataloader' in cfg else None
    if dataset is not None:
        meta['dataset_meta'] = copy.deepcopy(dataset.METAINFO)
    return dict(meta=meta, state_dict=conversion.state_dict)


def _list_settings(model: nn.Module) -> list[tuple]:
    """Settings that names and shapes do not tell: field, value and that of cvpods."""
    head, neck, preprocessor = model.bbox_head, model.neck, model.data_preprocessor
    mean, std = (
        [round(value, 3) for value in values.flatten().tolist()]
        for values in (preprocessor.mean, preprocessor.std)
    )
    strides = [max(stride) for stride in head.prior_generator.strides]
    settings = [
        ('data_preprocessor.bgr_to_rgb', preprocessor._channel_conversion, False),
        ('data_preprocessor.mean', mean, [103.53, 116.28, 123.675]),
        ('data_preprocessor.std', std, [1.0, 1.0, 1.0]),
        ('backbone.style', model.backbone.style, 'caffe'),
        ('neck.relu_before_extra_convs', neck.relu_before_extra_convs, True),
        ('bbox_head, strides', strides, STRIDES),
    ]
    if neck.add_extra_convs != 'on_input':
        settings.append(('neck.add_extra_convs', neck.add_extra_convs, 'on_output'))
    if isinstance(head, LLAHead):
        settings.append(('bbox_head, whether on points', head.with_points, True))
    else:
        settings.append(('bbox_head.centerness_on_reg', head.centerness_on_reg, True))
        settings.append(('bbox_head.norm_on_bbox', head.norm_on_bbox, True))
    for i, conv in enumerate([*head.cls_convs, *head.reg_convs]):
        groups = getattr(getattr(conv, 'gn', None), 'num_groups', None)
        settings.append((f'bbox_head.norm_cfg.num_groups (convolution {i})', groups, 32))
    return settings
