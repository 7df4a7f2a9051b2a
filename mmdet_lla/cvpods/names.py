"""What cvpods calls the parameters of mmdet's models: one table, read both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: mmdet's name, cvpods', and what makes cvpods' first number of mmdet's: factor and summand.
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
#: The same branch, called after what it is trained to say.
_BRANCHES = ('head.ious_pred.', 'head.centerness.')
#: What BatchNorm counts and cvpods' frozen one does not.
_COUNTER = 'num_batches_tracked'


@dataclass(frozen=True)
class Conversion:
    """Tensors under their new names, and what became of the old ones.

    Attributes:
        state_dict (dict[str, Tensor]): New name to tensor, in the order of the model.
        renamed (dict[str, str]): Old name to new name.
        reshaped (list[str]): New names of those whose shape changed, too: cvpods' scales of a
            level are of shape (1,), mmcv's of ().
        added (list[str]): New names that had no old one: counters of BatchNorm, set to 0.
        left (list[str]): Old names that have no new one: counters of BatchNorm.
    """

    state_dict: dict[str, Tensor]
    renamed: dict[str, str]
    reshaped: list[str]
    added: list[str]
    left: list[str]


def cvpods_name(name: str) -> str | None:
    """What cvpods calls a parameter or buffer of mmdet; None if it knows no such thing."""
    for pattern, template, number in TABLE:
        found = re.fullmatch(pattern, name)
        if found:
            words = list(found.groups())
            if number:
                words[0] = number[0] * int(words[0]) + number[1]
            return template.format(*words)
    return None


def to_mmdet(weights: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Weights of cvpods under mmdet's names.

    Args:
        weights (Mapping[str, Tensor]): cvpods' name to tensor.
        model (nn.Module): See :func:`build_model`.

    Raises:
        ValueError: If a tensor lacks, is left over, or is of another shape; names them all.
    """
    pairs = _pairs(model)
    other = {name: _other_branch(name) for name in pairs.values()}
    pairs = {
        ours: other[theirs] if theirs not in weights and other[theirs] in weights else theirs
        for ours, theirs in pairs.items()
    }
    state = model.state_dict()
    found = _convert(weights, {theirs: ours for ours, theirs in pairs.items()}, state)
    added = [name for name in state if name.endswith(_COUNTER)]
    found.state_dict.update({name: torch.zeros_like(state[name]) for name in added})
    ordered = {name: found.state_dict[name] for name in state}
    return Conversion(ordered, found.renamed, found.reshaped, added, [])


def to_cvpods(state_dict: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Weights of mmdet under cvpods' names: LLA's for LLAHead, FCOS's for FCOSHead.

    Args:
        state_dict (Mapping[str, Tensor]): mmdet's name to tensor.
        model (nn.Module): See :func:`build_model`.

    Raises:
        ValueError: If a tensor lacks, is left over, or is of another shape; names them all.
    """
    pairs, state = _pairs(model), model.state_dict()
    shapes = {
        theirs: state[ours].reshape(1) if theirs.endswith('.scale') else state[ours]
        for ours, theirs in pairs.items()
    }
    left = [name for name in state_dict if name.endswith(_COUNTER)]
    given = {name: tensor for name, tensor in state_dict.items() if name not in left}
    found = _convert(given, pairs, shapes)
    return Conversion(found.state_dict, found.renamed, found.reshaped, [], left)


def _pairs(model: nn.Module) -> dict[str, str]:
    """mmdet's name to cvpods' of all that both know.

    Raises:
        ValueError: If there is more in the model than cvpods has names for.
    """
    names = [name for name in model.state_dict() if not name.endswith(_COUNTER)]
    pairs = {name: cvpods_name(name) for name in names}
    strange = [name for name, theirs in pairs.items() if theirs is None]
    if strange:
        raise ValueError(f'the config does not fit: cvpods has no name for {_list(strange)}')
    return pairs


def _other_branch(name: str) -> str:
    for one, other in (_BRANCHES, _BRANCHES[::-1]):
        if name.startswith(one):
            return other + name.removeprefix(one)
    return name


def _convert(
    source: Mapping[str, Tensor], renamed: dict[str, str], target: Mapping[str, Tensor]
) -> Conversion:
    """Rename and reshape; all faults are told at once."""
    faults = []
    lacking = [name for name in renamed if name not in source]
    over = [name for name in source if name not in renamed]
    if lacking:
        faults.append(f'{len(lacking)} of {len(renamed)} tensors lack: {_list(lacking)}')
    if over:
        faults.append(f'{len(over)} of {len(source)} tensors have no place: {_list(over)}')
    state_dict, reshaped = {}, []
    for old, new in renamed.items():
        if old not in source:
            continue
        tensor, shape = source[old], target[new].shape
        if tensor.shape != shape and tensor.numel() == shape.numel() == 1:
            tensor = tensor.reshape(shape)
            reshaped.append(new)
        elif tensor.shape != shape:
            faults.append(f'{old} is of shape {tuple(tensor.shape)}, expected {tuple(shape)}')
        state_dict[new] = tensor
    if faults:
        more = f'; and {len(faults) - 10} more' if len(faults) > 10 else ''
        raise ValueError('weights and config do not fit: ' + '; '.join(faults[:10]) + more)
    return Conversion(state_dict, renamed, reshaped, [], [])


def _list(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
