"""Reads checkpoints that contain their config as data, so that nothing in them is executed.

mmengine builds any class that a config names and imports modules by name, and mmcv evaluates the
name of an NMS as Python. A config inside a checkpoint may therefore name only registered classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import Registry, root

from ..plain_checkpoints import parse_config

#: Scopes that may prefix a type.
_SCOPES = ('mmdet', 'mmdet_lla', 'mmengine', 'mmcv')
#: Operators that mmdet and mmcv look up by name instead of in a registry.
_OPERATORS = ('RoIAlign', 'RoIPool', 'nms', 'soft_nms', 'softnms', 'nms_match')
#: Parts of a config that are needed to detect.
_PARTS = ('model', 'test_dataloader', 'default_scope')


def config_of(checkpoint: dict, path: Path) -> Config:
    """Return the config inside a checkpoint, read as data and reduced to the parts for detection.

    Raises:
        ValueError: There is none, or it names something that is not registered.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    try:
        values = parse_config(text) if isinstance(text, str) else {}
    except ValueError as error:
        raise ValueError(f'{path} contains a config that is not plain data: {error}') from error
    if 'model' not in values:
        raise ValueError(
            f'{path} contains no config: give the config as model and this file as --weights '
            '(weights= in Python)'
        )
    values = {key: values[key] for key in _PARTS if key in values}
    check_plain(values, str(path))
    return Config(values)


def check_plain(values, where: str) -> None:
    """Raise if a config names anything that is not registered.

    Raises:
        ValueError: Names the first such value.
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
                f'{where}: its config has {key}={value!r}, which is not registered, '
                'so it is not built'
            )


def registered_names() -> set[str]:
    """Return the names of all classes that mmengine, mmcv, mmdet and this package register.

    Hooks are left out where nothing has imported them: no part of a detector names one, and theirs
    are the slowest imports.
    """
    tops = [value for value in vars(root).values() if isinstance(value, Registry)]
    DATASETS.import_from_location()
    names: set[str] = set()
    while tops:
        registry = tops.pop()
        if registry.name != 'hook':
            registry.import_from_location()
        names.update(registry._module_dict)
        tops.extend(registry._children.values())
    return names


def _walk(values) -> Iterator[tuple[str, object]]:
    """Yield every key that names a class or a scope, with its value."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key in ('type', '_scope_', 'default_scope'):
                yield key, value
            yield from _walk(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _walk(value)
