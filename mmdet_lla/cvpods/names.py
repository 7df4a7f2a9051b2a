"""Parameter names of cvpods for those of mmdet: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..utils.names import join_first

#: Pattern of mmdet's name, template of cvpods', and the factor and summand that turn the first
#: number of mmdet's into that of cvpods'.
TABLE = (
    (r'backbone\.conv1\.weight', 'backbone.bottom_up.stem.conv1.weight', None),
    (r'backbone\.bn1\.(\w+)', 'backbone.bottom_up.stem.conv1.norm.{}', None),
    (
        r'backbone\.layer(\d)\.(\d+)\.conv(\d)\.weight',
        'backbone.bottom_up.res{}.{}.conv{}.weight',
        (1, 1),
    ),
    (
        r'backbone\.layer(\d)\.(\d+)\.bn(\d)\.(\w+)',
        'backbone.bottom_up.res{}.{}.conv{}.norm.{}',
        (1, 1),
    ),
    (
        r'backbone\.layer(\d)\.(\d+)\.downsample\.0\.weight',
        'backbone.bottom_up.res{}.{}.shortcut.weight',
        (1, 1),
    ),
    (
        r'backbone\.layer(\d)\.(\d+)\.downsample\.1\.(\w+)',
        'backbone.bottom_up.res{}.{}.shortcut.norm.{}',
        (1, 1),
    ),
    (r'neck\.lateral_convs\.(\d)\.conv\.(\w+)', 'backbone.fpn_lateral{}.{}', (1, 3)),
    (r'neck\.fpn_convs\.([0-2])\.conv\.(\w+)', 'backbone.fpn_output{}.{}', (1, 3)),
    (r'neck\.fpn_convs\.([34])\.conv\.(\w+)', 'backbone.top_block.p{}.{}', (1, 3)),
    (r'bbox_head\.cls_convs\.(\d)\.conv\.(\w+)', 'head.cls_subnet.{}.{}', (3, 0)),
    (r'bbox_head\.cls_convs\.(\d)\.gn\.(\w+)', 'head.cls_subnet.{}.{}', (3, 1)),
    (r'bbox_head\.reg_convs\.(\d)\.conv\.(\w+)', 'head.bbox_subnet.{}.{}', (3, 0)),
    (r'bbox_head\.reg_convs\.(\d)\.gn\.(\w+)', 'head.bbox_subnet.{}.{}', (3, 1)),
    (r'bbox_head\.(?:retina|conv)_cls\.(\w+)', 'head.cls_score.{}', None),
    (r'bbox_head\.(?:retina|conv)_reg\.(\w+)', 'head.bbox_pred.{}', None),
    (r'bbox_head\.retina_iou\.(\w+)', 'head.ious_pred.{}', None),
    (r'bbox_head\.conv_centerness\.(\w+)', 'head.centerness.{}', None),
    (r'bbox_head\.scales\.(\d)\.scale', 'head.scales.{}.scale', (1, 0)),
)
#: One branch, named after its training target.
_BRANCHES = ('head.ious_pred.', 'head.centerness.')
#: Buffer of BatchNorm that cvpods' frozen one does not have.
_COUNTER = 'num_batches_tracked'


@dataclass(frozen=True)
class Conversion:
    """Renamed tensors, and what happened to each old name.

    Attributes:
        state_dict (dict[str, Tensor]): Tensors by new name, in the order of the model.
        renamed (dict[str, str]): New name by old name.
        reshaped (list[str]): New names of tensors whose shape changed, too: a scale per level has
            the shape (1,) in cvpods and () in mmcv.
        added (list[str]): New names without an old one: counters of BatchNorm, set to 0.
        dropped (list[str]): Old names without a new one: counters of BatchNorm.
    """

    state_dict: dict[str, Tensor]
    renamed: dict[str, str]
    reshaped: list[str]
    added: list[str]
    dropped: list[str]


def to_cvpods_name(name: str) -> str | None:
    """Translate a parameter name of mmdet; None if cvpods has no such parameter.

    Example:
        >>> to_cvpods_name('neck.lateral_convs.0.conv.weight')
        'backbone.fpn_lateral3.weight'
    """
    for pattern, template, number in TABLE:
        match = re.fullmatch(pattern, name)
        if match:
            words = list(match.groups())
            if number:
                words[0] = number[0] * int(words[0]) + number[1]
            return template.format(*words)
    return None


def to_mmdet(weights: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Rename weights of cvpods for mmdet.

    Args:
        weights (Mapping[str, Tensor]): By cvpods' name.
        model (nn.Module): See :func:`build_model`.

    Raises:
        ValueError: Tensors are missing, unexpected or have another shape; the message names them.
    """
    pairs = _pair_names(model)
    other = {name: _other_branch(name) for name in pairs.values()}
    pairs = {
        ours: other[theirs] if theirs not in weights and other[theirs] in weights else theirs
        for ours, theirs in pairs.items()
    }
    state = model.state_dict()
    conversion = _convert(weights, {theirs: ours for ours, theirs in pairs.items()}, state)
    added = [name for name in state if name.endswith(_COUNTER)]
    conversion.state_dict.update({name: torch.zeros_like(state[name]) for name in added})
    ordered = {name: conversion.state_dict[name] for name in state}
    return Conversion(ordered, conversion.renamed, conversion.reshaped, added, [])


def to_cvpods(state_dict: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Rename weights of mmdet for cvpods: for its LLA with LLAHead, for its FCOS with FCOSHead.

    Args:
        state_dict (Mapping[str, Tensor]): By mmdet's name.
        model (nn.Module): See :func:`build_model`.

    Raises:
        ValueError: Tensors are missing, unexpected or have another shape; the message names them.
    """
    pairs, state = _pair_names(model), model.state_dict()
    shapes = {
        theirs: state[ours].reshape(1) if theirs.endswith('.scale') else state[ours]
        for ours, theirs in pairs.items()
    }
    left = [name for name in state_dict if name.endswith(_COUNTER)]
    given = {name: tensor for name, tensor in state_dict.items() if name not in left}
    conversion = _convert(given, pairs, shapes)
    return Conversion(conversion.state_dict, conversion.renamed, conversion.reshaped, [], left)


def _pair_names(model: nn.Module) -> dict[str, str]:
    """Map mmdet's names to cvpods'; raise ValueError for parameters that cvpods does not have."""
    names = [name for name in model.state_dict() if not name.endswith(_COUNTER)]
    pairs = {name: to_cvpods_name(name) for name in names}
    unknown = [name for name, theirs in pairs.items() if theirs is None]
    if unknown:
        raise ValueError(f'the config does not fit: cvpods has no name for {join_first(unknown)}')
    return pairs


def _other_branch(name: str) -> str:
    for one, other in (_BRANCHES, _BRANCHES[::-1]):
        if name.startswith(one):
            return other + name.removeprefix(one)
    return name


def _convert(
    source: Mapping[str, Tensor], renamed: dict[str, str], target: Mapping[str, Tensor]
) -> Conversion:
    """Rename and reshape; report all problems at once."""
    problems = []
    missing = [name for name in renamed if name not in source]
    unexpected = [name for name in source if name not in renamed]
    if missing:
        problems.append(
            f'{len(missing)} of {len(renamed)} tensors are missing: {join_first(missing)}'
        )
    if unexpected:
        problems.append(
            f'{len(unexpected)} of {len(source)} tensors are unexpected: {join_first(unexpected)}'
        )
    state_dict, reshaped = {}, []
    for old, new in renamed.items():
        if old not in source:
            continue
        tensor, shape = source[old], target[new].shape
        if tensor.shape != shape and tensor.numel() == shape.numel() == 1:
            tensor = tensor.reshape(shape)
            reshaped.append(new)
        elif tensor.shape != shape:
            problems.append(f'{old} has the shape {tuple(tensor.shape)}, expected {tuple(shape)}')
        state_dict[new] = tensor
    if problems:
        more = f'; and {len(problems) - 10} more' if len(problems) > 10 else ''
        raise ValueError('weights and config do not fit: ' + '; '.join(problems[:10]) + more)
    return Conversion(state_dict, renamed, reshaped, [], [])
