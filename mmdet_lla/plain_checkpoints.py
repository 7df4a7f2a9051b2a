"""Checkpoints as tensors and plain values alone, which torch loads in any process.

mmengine keeps the training log as objects of its own, which ``torch.load(weights_only=True)``
refuses in a process where nobody has vouched for them. And it keeps the config as Python, which
its inference executes.
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
from torch import Tensor

from .compat import mmengine_log_allowed

_HISTORY = ('log_history', 'count_history', 'max_length')


def read_weights(path: str | PathLike, key: str = 'state_dict') -> dict:
    """Read a checkpoint by its tensors and plain values alone; no class in it is ever built.

    Args:
        path (str | PathLike): Checkpoint.
        key (str): Entry that holds the weights. Defaults to mmengine's.

    Returns:
        dict: The checkpoint. Names in ``key`` have lost the ``module.`` of parallel training.

    Raises:
        FileNotFoundError: ``path`` is not there.
        ValueError: It holds anything else, or no weights under ``key``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'No checkpoint {path} here')
    try:
        with mmengine_log_allowed():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} is not read, it holds more than tensors and plain values: {error}. If you '
            f'trust it, save its {key!r} alone, with torch.save, where it was made'
        ) from error
    except Exception as error:  # damage leads any decoder astray
        reason = str(error).strip().split('\n')[0]
        raise ValueError(f'{path} is not read: {reason or type(error).__name__}') from error
    weights = checkpoint.get(key) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not weights:
        found = ', '.join(map(str, checkpoint)) if isinstance(checkpoint, dict) else 'no entries'
        raise ValueError(
            f'{path} has no weights under {key!r}, expected there; it has {found:.300}'
        )
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f'{path}: {name} is a {type(tensor).__name__}, expected a tensor')
    weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
    return {**checkpoint, key: weights}


def plain(value: Any, where: str) -> Any:
    """The same of tensors and plain values, numpy's among them turned into Python's.

    Args:
        value (Any): A nesting of dicts, lists and tuples.
        where (str): What to call it.

    Raises:
        ValueError: Something in it is neither; says where.
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, dict):
        return {key: plain(item, f'{where}.{key}') for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise ValueError(f'{where} is a {type(value).__name__}, expected a tensor or a plain value')


def pack_history(history: HistoryBuffer) -> dict:
    """A scalar's history as tensors; :func:`unpack_history` makes it whole again."""
    values, counts = (torch.from_numpy(np.array(part)) for part in history.data)
    return dict(zip(_HISTORY, (values, counts, history.max_length), strict=True))


def unpack_history(packed: Any) -> Any:
    """A history of what :func:`pack_history` made of it, anything else as it is."""
    if not isinstance(packed, dict) or set(packed) != set(_HISTORY):
        return packed
    values, counts, length = (packed[name] for name in _HISTORY)
    return HistoryBuffer(values.numpy(), counts.numpy(), length)


def parse_config(text: str) -> dict:
    """A resolved config read as data, nothing of it executed.

    Args:
        text (str): Python as ``Config.pretty_text`` writes it, and mmengine into ``meta['cfg']`` of
            each checkpoint: assignments of plain values, lists, tuples and dicts.

    Raises:
        ValueError: It is anything else; names the line.
    """
    try:
        statements = ast.parse(text).body
        values = {}
        for statement in statements:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if not isinstance(target, ast.Name) or len(statement.targets) > 1:
                raise _odd(statement)
            values[target.id] = _value(statement.value)
    except SyntaxError as error:
        raise ValueError(f'line {error.lineno} of the config is no Python: {error.msg}') from error
    except (RecursionError, MemoryError) as error:
        raise ValueError('the config is nested too deeply') from error
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if type(number) in (int, float):
            return -number
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if not node.args and all(keyword.arg for keyword in node.keywords):
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    raise _odd(node)


def _key(node: ast.expr) -> Any:
    value = _value(node)
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise _odd(node)
    return value


def _odd(node: ast.AST) -> ValueError:
    found = ast.unparse(node)
    return ValueError(
        f'line {node.lineno} of the config has {found[:80]}, expected plain values, lists, tuples '
        'and dicts'
    )
