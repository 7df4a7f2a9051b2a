"""Configs whose models compute what cvpods' do, as far as its weights tell."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from mmdet.models import FPN, FCOSHead, ResNet
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..heads import LLAHead

STRIDES = [8, 16, 32, 64, 128]
_P6 = 'backbone.top_block.p6.weight'
_KINDS = dict(backbone=(ResNet,), neck=(FPN,), bbox_head=(LLAHead, FCOSHead))


def adapt_config(
    cfg: Config, weights: Mapping[str, Tensor], prior_offset: float | None = None
) -> tuple[Config, list[str]]:
    """Make a config say what weights of cvpods are for.

    Args:
        cfg (Config): With LLAHead on points, or FCOSHead.
        weights (Mapping[str, Tensor]): Under cvpods' names.
        prior_offset (float, optional): Where priors lie in their cell, 0 or 0.5 of a stride.
            Needed for weights with a centerness branch, which do not tell; those with an IoU
            branch are LLA's, where it is 0.

    Returns:
        tuple[Config, list[str]]: A copy of the config, and what was changed in it, in words.

    Raises:
        ValueError: If the offset is needed and not given, or the head cannot have it.
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
    """Build a config's model, if it computes what cvpods' does.

    Args:
        cfg (Config): Config.

    Raises:
        ValueError: If it does not; names each field, its value and what is expected.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    parts = copy.deepcopy(cfg.model)
    if 'backbone' in parts:
        parts.backbone.init_cfg = None
    model = MODELS.build(parts)
    for name, kinds in _KINDS.items():
        part = getattr(model, name, None)
        if not isinstance(part, kinds):
            expected = ' or '.join(kind.__name__ for kind in kinds)
            raise ValueError(
                f'the config does not fit: model.{name} is a {type(part).__name__}, '
                f'expected {expected}'
            )
    wrong = [
        f'{field} is {value!r}, expected {expected!r}'
        for field, (value, expected) in _facts(model).items()
        if value != expected
    ]
    if wrong:
        raise ValueError('the config does not fit: ' + '; '.join(wrong))
    return model


def _facts(model: nn.Module) -> dict[str, tuple]:
    """What names and shapes do not tell: field, and its value beside what cvpods' network has."""
    head, neck, pictures = model.bbox_head, model.neck, model.data_preprocessor
    facts = {
        'data_preprocessor.bgr_to_rgb': (pictures._channel_conversion, False),
        'data_preprocessor.mean': (_rounded(pictures.mean), [103.53, 116.28, 123.675]),
        'data_preprocessor.std': (_rounded(pictures.std), [1.0, 1.0, 1.0]),
        'backbone.style': (model.backbone.style, 'caffe'),
        'neck.relu_before_extra_convs': (neck.relu_before_extra_convs, True),
        'bbox_head, strides': ([max(stride) for stride in head.prior_generator.strides], STRIDES),
    }
    if neck.add_extra_convs != 'on_input':
        facts['neck.add_extra_convs'] = (neck.add_extra_convs, 'on_output')
    if isinstance(head, LLAHead):
        facts['bbox_head, whether on points'] = (head.with_points, True)
    else:
        facts['bbox_head.centerness_on_reg'] = (head.centerness_on_reg, True)
        facts['bbox_head.norm_on_bbox'] = (head.norm_on_bbox, True)
    for i, conv in enumerate([*head.cls_convs, *head.reg_convs]):
        groups = getattr(getattr(conv, 'gn', None), 'num_groups', None)
        facts[f'bbox_head.norm_cfg.num_groups (convolution {i})'] = (groups, 32)
    return {f'model.{field}': fact for field, fact in facts.items()}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]
