"""Configs of a study: their names, fingerprints, sweeps and differences."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ..datasets.checks import check_dataset_files
from ..named_configs import read_config
from ..utils.names import parse_named_path

DIGEST_LENGTH = 10
ABSENT = '(absent)'
ASSIGNER = 'model.train_cfg.assigner'
#: Entries that training or testing reads; all others are variables that a config is built from.
_ENTRIES = {*inspect.signature(Runner.__init__).parameters, 'custom_imports'} - {'self', 'cfg'}
_MISSING = object()


@dataclass(frozen=True)
class Variant:
    """One config of a study.

    Attributes:
        name (str): Short name for tables and plots.
        path (str): Path as given.
        cfg (Config): Resolved config with all options merged.
        digest (str): Hash of the resolved config without its seed, and of its annotations.
    """

    name: str
    path: str
    cfg: Config
    digest: str

    @property
    def stem(self) -> str:
        """File name without suffix."""
        return _stem(self.path)

    @property
    def data(self) -> tuple[Path, ...]:
        """Existing annotation files and image directories, absolute."""
        return tuple(dict.fromkeys(Path(path).absolute() for path in _data(self.cfg.to_dict())))


def load_variants(
    specs: Sequence[str], options: Mapping | None = None, sweeps: Sequence[str] = ()
) -> list[Variant]:
    """Read the configs of a study.

    Args:
        specs (Sequence[str]): ``path`` or ``NAME=path`` each; ``mmdet::name`` works, too.
        options (Mapping, optional): Values merged into each config, by dotted key.
        sweeps (Sequence[str]): ``KEY=V1,V2,...`` each: the first config once per value. See
            :func:`parse_sweep`.

    Raises:
        FileNotFoundError: A config or a file of its data does not exist.
        ValueError: A name occurs twice, or a config lacks an entry that the study needs.
    """
    given = [parse_named_path(spec) for spec in specs]
    short = short_names([path for _, path in given])
    entries = [
        (name or short[i], path, dict(options or {})) for i, (name, path) in enumerate(given)
    ]
    for sweep in sweeps:
        _, path, base = entries[0]
        entries += [(name, path, {**base, **option}) for name, option in parse_sweep(sweep)]
    names = [name for name, _, _ in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f'config name {name!r} occurs {names.count(name)} times, expected each '
                'config once; choose other names with NAME=path'
            )
    return [_load_variant(*entry) for entry in entries]


def _load_variant(name: str, path: str, options: dict) -> Variant:
    cfg = read_config(path)
    cfg.merge_from_dict(options)
    for entry in ('train_cfg', 'test_dataloader', 'test_evaluator'):
        if cfg.get(entry) is None:
            raise ValueError(f'{path} has no {entry}; a study needs it to train and test')
    for loader in (cfg.get('train_dataloader') or {}, cfg.test_dataloader):
        check_dataset_files(loader.get('dataset') or {})
    return Variant(name, path, cfg, compute_digest(cfg))


def parse_sweep(spec: str) -> list[tuple[str, dict]]:
    """Split a sweep into one named option per value.

    Args:
        spec (str): ``KEY=V1,V2,...``. A key without dots is an argument of the assigner,
            ``model.train_cfg.assigner.KEY``. Values are parsed as those of ``--cfg-options``.

    Raises:
        ValueError: The form is different, or a value is empty.

    >>> parse_sweep('topk=5,10')[0]
    ('topk=5', {'model.train_cfg.assigner.topk': 5})
    """
    key, separator, values = spec.partition('=')
    items = values.split(',')
    if not key or not separator or not all(items):
        raise ValueError(f'sweep is {spec!r}, expected KEY=VALUE,VALUE,... such as topk=5,10,20')
    dotted = key if '.' in key else f'{ASSIGNER}.{key}'
    last = key.rpartition('.')[2]
    return [(f'{last}={item}', {dotted: DictAction._parse_int_float_bool(item)}) for item in items]


def _stem(path: str) -> str:
    return Path(path.rpartition('::')[2]).stem


def short_names(paths: Sequence[str]) -> list[str]:
    """Shorten config paths to what distinguishes them.

    Args:
        paths (Sequence[str]): Config paths. Where file names are equal, whole paths are shortened.

    >>> short_names(['lla_k1_crowd.py', 'lla_k20_crowd.py'])
    ['k1', 'k20']
    """
    stems = [_stem(path) for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(Path(path).with_suffix('')) for path in paths]
    if len(set(stems)) < 2:
        return stems
    words = [re.split(r'([_\-/])', stem) for stem in stems]
    shortest = min(map(len, words))
    # Words and separators alternate, so cuts of even length leave whole words. The end is cut
    # first: of lla_r50 and lla_k1_r50, 'lla' and 'lla_k1' say more than 'r50' and 'k1_r50'.
    end = _common_length([w[::-1] for w in words], shortest - 1) // 2 * 2
    begin = _common_length(words, shortest - 1 - end) // 2 * 2
    return [''.join(w[begin : len(w) - end]) for w in words]


def _common_length(lists: list[list[str]], limit: int) -> int:
    for i in range(limit):
        if len({items[i] for items in lists}) > 1:
            return i
    return limit


def compute_digest(cfg: Config) -> str:
    """Hash a resolved config without its seed, together with the annotation files it names."""
    content = cfg.to_dict()
    randomness = content.get('randomness')
    if isinstance(randomness, dict):
        randomness.pop('seed', None)
    sha = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    for path in sorted(set(filter(os.path.isfile, _data(content)))):
        sha.update(Path(path).read_bytes())
    return sha.hexdigest()[:DIGEST_LENGTH]


def _data(value) -> Iterator[str]:
    """Yield existing annotation files and image directories, at any depth of a config."""
    if isinstance(value, Mapping):
        root, prefix = value.get('data_root') or '', value.get('data_prefix')
        names = [value.get('ann_file'), *(prefix.values() if isinstance(prefix, Mapping) else ())]
        paths = [os.path.join(root, name) for name in names if isinstance(name, str) and name]
        yield from filter(os.path.exists, paths)
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _data(item)


def diff_configs(base: Config | Mapping, other: Config | Mapping) -> dict[str, tuple[str, str]]:
    """List what differs between two resolved configs, readably.

    Only entries that training or testing reads are compared. A component of another type is one
    difference.

    Returns:
        dict[str, tuple[str, str]]: By dotted key, the value in ``base`` and in ``other``;
        ``(absent)`` where there is none.

    >>> diff_configs(dict(model=dict(topk=10)), dict(model=dict(topk=9)))
    {'model.topk': ('10', '9')}
    """
    found: dict[str, tuple[str, str]] = {}
    base, other = (c.to_dict() if isinstance(c, Config) else c for c in (base, other))
    for key in sorted(_ENTRIES & {*base, *other}):
        _compare(key, base.get(key, _MISSING), other.get(key, _MISSING), found)
    return found


def _compare(key: str, base, other, found: dict) -> None:
    lists = isinstance(base, (list, tuple)) and isinstance(other, (list, tuple))
    if (
        isinstance(base, Mapping)
        and isinstance(other, Mapping)
        and base.get('type') == other.get('type')
    ):
        for name in dict.fromkeys((*base, *other)):
            _compare(f'{key}.{name}', base.get(name, _MISSING), other.get(name, _MISSING), found)
    elif lists and len(base) == len(other) and any(isinstance(item, Mapping) for item in base):
        for i, (one, two) in enumerate(zip(base, other, strict=True)):
            _compare(f'{key}.{i}', one, two, found)
    elif list(base) != list(other) if lists else base != other:
        found[key] = (format_value(base), format_value(other))


def format_value(value) -> str:
    """Format a config value the way it is written, components as calls.

    >>> format_value(dict(type='LLAAssigner', topk=10))
    'LLAAssigner(topk=10)'
    """
    if value is _MISSING:
        return ABSENT
    if isinstance(value, Mapping):
        kind = value.get('type', 'dict')
        kind = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
        rest = (f'{k}={format_value(v)}' for k, v in value.items() if k not in ('type', '_scope_'))
        return f'{kind}({", ".join(rest)})'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(format_value, value))}]'
    return value if isinstance(value, str) else repr(value)
