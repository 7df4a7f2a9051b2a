"""Checkpoints of tensors and plain values: read, checked and written without executing anything.

mmengine stores the training log as objects of its own, which ``torch.load(weights_only=True)``
refuses unless they are allowed, and the config as Python, which its inference executes.
"""

from __future__ import annotations

import ast
import pickle
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import load_state_dict
from torch import Tensor, nn

from .compat import mmengine_log_allowed

#: Buffers of BatchNorm that older checkpoints lack.
_COUNTER = 'num_batches_tracked'
_HISTORY = ('log_history', 'count_history', 'max_length')


def read_checkpoint(path: str | PathLike) -> dict:
    """Read a checkpoint without executing anything it may contain.

    Tensors, plain values and mmengine's training log are loaded; any other object is refused. All
    commands read checkpoints with this function.

    Args:
        path (str | PathLike): Checkpoint of a training, or a published one.

    Returns:
        dict: Its entries, on the CPU.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: It is damaged or no checkpoint, or contains other objects.

    Example:
        >>> from mmdet_lla.models import shipped_model
        >>> sorted(read_checkpoint(shipped_model('lla-s')))
        ['meta', 'state_dict']
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no checkpoint {path} here')
    try:
        with mmengine_log_allowed():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().split('\n')[0]
        raise ValueError(
            f'{path} is not read: it contains more than tensors and plain values ({reason}). If '
            'you trust it, save its weights alone, with torch.save, where it was made'
        ) from error
    except Exception as error:  # a damaged file can raise anything
        reason = str(error).strip().split('\n')[0]
        raise ValueError(f'{path} is not read: {reason or type(error).__name__}') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} contains a {type(checkpoint).__name__}, expected a checkpoint')
    return checkpoint


def read_weights(path: str | PathLike, key: str = 'state_dict') -> dict:
    """Read a checkpoint that must contain weights; see :func:`read_checkpoint`.

    Args:
        path (str | PathLike): Checkpoint.
        key (str): Entry with the weights. Defaults to that of mmengine.

    Returns:
        dict: The checkpoint; parameter names in ``key`` without the ``module.`` of DDP.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: It cannot be read, or has no weights under ``key``.

    Example:
        >>> from mmdet_lla.models import shipped_model
        >>> read_weights(shipped_model('lla-s'))['state_dict']['bbox_head.retina_cls.bias'].shape
        torch.Size([1])
    """
    checkpoint = read_checkpoint(path)
    weights = checkpoint.get(key)
    if not isinstance(weights, dict) or not weights:
        found = ', '.join(map(str, checkpoint)) or 'no entries'
        raise ValueError(f'{path} has no weights under {key!r}; it has {found:.300}')
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f'{path}: {name} is a {type(tensor).__name__}, expected a tensor')
    weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
    return {**checkpoint, key: weights}


def load_weights(model: nn.Module, path: str | PathLike) -> None:
    """Load the weights of a checkpoint, with ``state_dict`` or without, into a model.

    Args:
        model (nn.Module): Receives the weights.
        path (str | PathLike): Checkpoint; entries that the model does not have are ignored.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: It cannot be read, or lacks weights of the model or has them in other shapes.

    Example:
        >>> from mmdet_lla.models import shipped_model
        >>> try:
        ...     load_weights(nn.Linear(1, 1), shipped_model('lla-s'))
        ... except ValueError as error:
        ...     print(str(error).split(': ')[1])
        2 of 2 tensors are missing (weight, bias), 0 have another shape ()
    """
    checkpoint = read_checkpoint(path)
    load_state(model, checkpoint.get('state_dict', checkpoint), str(path))


def load_state(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load weights into a model, all that it has; see :func:`load_weights`.

    Raises:
        ValueError: Weights are missing or have other shapes; the message names ``source``.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> load_state(model, {'module.weight': torch.ones(1, 1), 'bias': torch.ones(1)}, 'here')
        >>> model.weight.item()
        1.0
    """
    state = {name.removeprefix('module.'): tensor for name, tensor in state.items()}
    expected = model.state_dict()
    missing = [name for name in expected if name not in state and _COUNTER not in name]
    shapes = [
        name
        for name, tensor in expected.items()
        if name in state and getattr(state[name], 'shape', None) != tensor.shape
    ]
    if missing or shapes:
        raise ValueError(
            f'{source} has the weights of another model: {len(missing)} of {len(expected)} tensors '
            f'are missing ({", ".join(missing[:3])}), {len(shapes)} have another shape '
            f'({", ".join(shapes[:3])})'
        )
    load_state_dict(model, {name: state[name] for name in expected if name in state}, strict=True)


def to_plain(value: Any, name: str) -> Any:
    """Convert a nesting of dicts, lists and tuples to tensors on the CPU and plain values.

    Args:
        value (Any): May contain NumPy's scalars and arrays.
        name (str): Name of the value in messages.

    Raises:
        ValueError: It contains another object; the message says where.

    Example:
        >>> to_plain(dict(a=(np.float64(0.5), np.arange(2))), 'meta')
        {'a': (0.5, [0, 1])}
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist(), name)
    if isinstance(value, dict):
        return {key: to_plain(item, f'{name}.{key}') for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, f'{name}[{i}]') for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise ValueError(f'{name} is a {type(value).__name__}, expected a tensor or a plain value')


def pack_history(history: HistoryBuffer) -> dict:
    """Convert the history of a logged scalar to tensors.

    Example:
        >>> unpack_history(pack_history(HistoryBuffer([2.0], [1]))).current()
        np.float64(2.0)
    """
    values, counts = (torch.from_numpy(np.array(part)) for part in history.data)
    return dict(zip(_HISTORY, (values, counts, history.max_length), strict=True))


def unpack_history(packed: Any) -> Any:
    """Convert the result of :func:`pack_history` back; return anything else unchanged."""
    if not isinstance(packed, dict) or set(packed) != set(_HISTORY):
        return packed
    values, counts, length = (packed[name] for name in _HISTORY)
    return HistoryBuffer(values.numpy(), counts.numpy(), length)


def parse_config(text: str) -> dict:
    """Parse a resolved config without executing it.

    Args:
        text (str): Python as ``Config.pretty_text`` and ``meta['cfg']`` of checkpoints have it:
            assignments of plain values, lists, tuples and dicts.

    Raises:
        ValueError: It contains anything else; the message names the line.

    Example:
        >>> parse_config("model = dict(type='RetinaNet', depth=50)")
        {'model': {'type': 'RetinaNet', 'depth': 50}}
    """
    try:
        statements = ast.parse(text).body
        values = {}
        for statement in statements:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if not isinstance(target, ast.Name) or len(statement.targets) > 1:
                raise _unexpected(statement)
            values[target.id] = _parse_value(statement.value)
    except SyntaxError as error:
        raise ValueError(f'line {error.lineno} of the config is no Python: {error.msg}') from error
    except (RecursionError, MemoryError) as error:
        raise ValueError('the config is nested too deeply') from error
    return values


def _parse_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_parse_value(item) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            _parse_key(key): _parse_value(value)
            for key, value in zip(node.keys, node.values, strict=True)
        }
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _parse_value(node.operand)
        if type(number) in (int, float):
            return -number
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if not node.args and all(keyword.arg for keyword in node.keywords):
            return {keyword.arg: _parse_value(keyword.value) for keyword in node.keywords}
    raise _unexpected(node)


def _parse_key(node: ast.expr) -> Any:
    value = _parse_value(node)
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise _unexpected(node)
    return value


def _unexpected(node: ast.AST) -> ValueError:
    found = ast.unparse(node)
    return ValueError(
        f'line {node.lineno} of the config has {found[:80]}, expected plain values, lists, tuples '
        'and dicts'
    )
