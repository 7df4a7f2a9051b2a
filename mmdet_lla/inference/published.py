"""Checkpoints that carry their config: read as data, so that nothing in them is executed.

mmengine builds whatever class a config names, looks for modules by the names it finds, and mmcv
evaluates the name of an NMS as Python. A config from a file that one was given must therefore name
what is registered already, and nothing else.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import Registry, root

from ..compat import mmengine_log_allowed
from ..plain_checkpoints import parse_config

#: Prefixes that a type may have, and nothing else with a dot.
_SCOPES = ('mmdet', 'mmdet_lla', 'mmengine', 'mmcv')
#: What mmdet looks for in mmcv.ops, and what mmcv evaluates, by name alone.
_OPERATORS = ('RoIAlign', 'RoIPool', 'nms', 'soft_nms', 'softnms', 'nms_match')
#: What of a config is needed to detect.
_PARTS = ('model', 'test_dataloader', 'default_scope')


def read_checkpoint(path: Path) -> dict:
    """Tensors and plain values of a checkpoint.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no checkpoint, or holds more than that; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f'No checkpoint {path} here')
    try:
        with mmengine_log_allowed():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f'{path} holds more than weights and is not read ({first})') from error
    except Exception as error:  # damage leads any decoder astray
        raise ValueError(f'{path} cannot be read ({type(error).__name__}: {error})') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} holds a {type(checkpoint).__name__}, expected a checkpoint')
    return checkpoint


def config_of(checkpoint: dict, path: Path) -> Config:
    """The config that a checkpoint carries, read as data, as far as it is needed to detect.

    Raises:
        ValueError: It carries none, or one that names what is not registered.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    try:
        values = parse_config(text) if isinstance(text, str) else {}
    except ValueError as error:
        raise ValueError(f'{path} carries a config that is not plain: {error}') from error
    if 'model' not in values:
        raise ValueError(
            f'{path} carries no config; give its config and name it with --weights (weights= in '
            'Python)'
        )
    values = {key: values[key] for key in _PARTS if key in values}
    check_plain(values, str(path))
    return Config(values)


def check_plain(values, where: str) -> None:
    """Raise if a config names anything that is not registered.

    Raises:
        ValueError: Names the first.
    """
    known = registered_names()
    for key, value in _walk(values):
        scope, _, name = str(value).rpartition('.')
        plain = isinstance(value, str) and re.fullmatch(r'\w+', name) and scope in ('', *_SCOPES)
        if key in ('_scope_', 'default_scope'):
            plain = value in _SCOPES
        elif plain:
            plain = name in known or (scope == '' and name in _OPERATORS)
        if not plain:
            raise ValueError(
                f'{where}: its config has {key}={value!r}, which is nothing that is registered; '
                'it is not built'
            )


def registered_names() -> set[str]:
    """Names of all that mmengine, mmcv, mmdet and this package registered."""
    tops = [value for value in vars(root).values() if isinstance(value, Registry)]
    DATASETS.import_from_location()
    names: set[str] = set()
    while tops:
        registry = tops.pop()
        registry.import_from_location()
        names.update(registry._module_dict)
        tops.extend(registry._children.values())
    return names


def _walk(values) -> Iterator[tuple[str, object]]:
    """Every key that names a class or a scope, with its value."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key in ('type', '_scope_', 'default_scope'):
                yield key, value
            yield from _walk(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _walk(value)
