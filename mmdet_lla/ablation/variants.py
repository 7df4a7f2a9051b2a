"""The configs of a study: names for people, fingerprints for machines, differences for both."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..datasets.checks import check_dataset_files
from ..named_configs import read_config

DIGEST_LENGTH = 10
ABSENT = '(absent)'
_NAMED = re.compile(r'([^=/\\]+)=(.+)')
#: Entries that a training or a test reads; others are variables a config is built from.
_ENTRIES = {*inspect.signature(Runner.__init__).parameters, 'custom_imports'} - {'self', 'cfg'}


@dataclass(frozen=True)
class Variant:
    """One config of a study.

    Attributes:
        name (str): Short, for tables and plots.
        path (str): As given.
        cfg (Config): Resolved, options merged.
        digest (str): Equal for equal resolved configs (whatever the seed) on equal annotations.
    """

    name: str
    path: str
    cfg: Config
    digest: str

    @property
    def stem(self) -> str:
        """File name without its ending."""
        return _stem(self.path)

    @property
    def data(self) -> tuple[Path, ...]:
        """Annotation files and folders of pictures that are there, absolute."""
        return tuple(dict.fromkeys(Path(path).absolute() for path in _data(self.cfg.to_dict())))


def load_variants(specs: Sequence[str], options: Mapping | None = None) -> list[Variant]:
    """Read the configs of a study.

    Args:
        specs (Sequence[str]): ``path`` or ``NAME=path`` each; a path may be ``mmdet::name``, too.
        options (Mapping, optional): Merged into each, keys with dots.

    Raises:
        FileNotFoundError: A config or a file of its data is not there.
        ValueError: A name comes twice, or a config has nothing to train or test with.
    """
    given = [_split(spec) for spec in specs]
    short = short_names([path for _, path in given])
    names = [name or short[i] for i, (name, _) in enumerate(given)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f'config name {name!r} comes {names.count(name)} times, expected each '
                'config once, or names of your own: NAME=path'
            )
    variants = []
    for name, (_, path) in zip(names, given, strict=True):
        cfg = read_config(path)
        cfg.merge_from_dict(dict(options or {}))
        for entry in ('train_cfg', 'test_dataloader', 'test_evaluator'):
            if cfg.get(entry) is None:
                raise ValueError(f'{path} has no {entry}, expected one: a study trains and tests')
        for loader in (cfg.get('train_dataloader') or {}, cfg.test_dataloader):
            check_dataset_files(loader.get('dataset') or {})
        variants.append(Variant(name, path, cfg, digest_of(cfg)))
    return variants


def _split(spec: str) -> tuple[str | None, str]:
    match = None if os.path.isfile(spec) else _NAMED.fullmatch(spec)
    return (match[1], match[2]) if match else (None, spec)


def _stem(path: str) -> str:
    return Path(path.rpartition('::')[2]).stem


def short_names(paths: Sequence[str]) -> list[str]:
    """File names without what all of them begin and end with.

    Args:
        paths (Sequence[str]): Of configs. Where file names alone are not different, whole paths
            are shortened.

    Returns:
        list[str]: One each, none empty.
    """
    stems = [_stem(path) for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(Path(path).with_suffix('')) for path in paths]
    if len(set(stems)) < 2:
        return stems
    words = [re.split(r'([_\-/])', stem) for stem in stems]
    shortest = min(map(len, words))
    # Words and separators alternate, so cuts of even length leave whole words.
    # Ends first: of lla_r50 and lla_k1_r50, lla and lla_k1 say more than r50 and k1_r50.
    end = _common([w[::-1] for w in words], shortest - 1) // 2 * 2
    begin = _common(words, shortest - 1 - end) // 2 * 2
    return [''.join(w[begin : len(w) - end]) for w in words]


def _common(lists: list[list[str]], most: int) -> int:
    for i in range(most):
        if len({items[i] for items in lists}) > 1:
            return i
    return most


def digest_of(cfg: Config) -> str:
    """Fingerprint of a resolved config without its seed, and of the annotations it names."""
    content = cfg.to_dict()
    randomness = content.get('randomness')
    if isinstance(randomness, dict):
        randomness.pop('seed', None)
    sha = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    for path in sorted(set(filter(os.path.isfile, _data(content)))):
        sha.update(Path(path).read_bytes())
    return sha.hexdigest()[:DIGEST_LENGTH]


def _data(value) -> Iterator[str]:
    """Annotation files and folders of pictures, at any depth; those that are not there are for a
    training to complain of."""
    if isinstance(value, Mapping):
        root, prefix = value.get('data_root') or '', value.get('data_prefix')
        names = [value.get('ann_file'), *(prefix.values() if isinstance(prefix, Mapping) else ())]
        paths = [os.path.join(root, name) for name in names if isinstance(name, str) and name]
        yield from filter(os.path.exists, paths)
    for child in _children(value):
        yield from _data(child)


def _children(value) -> Sequence:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, (list, tuple)) else ()


def differences(base: Config | Mapping, other: Config | Mapping) -> dict[str, tuple[str, str]]:
    """What differs between two resolved configs, readably.

    Only entries that a training or a test reads are compared, not the variables they are built
    from. Where a component is of another type, it is one difference as a whole.

    Args:
        base (Config | Mapping): What is compared with.
        other (Config | Mapping): What is compared.

    Returns:
        dict[str, tuple[str, str]]: By dotted key, the value in ``base`` and in ``other``;
        ``(absent)`` where there is none.
    """
    found: dict[str, tuple[str, str]] = {}
    base, other = (c.to_dict() if isinstance(c, Config) else c for c in (base, other))
    for key in sorted(_ENTRIES & {*base, *other}):
        _compare(key, base.get(key, _NOTHING), other.get(key, _NOTHING), found)
    return found


class _Nothing:
    pass


_NOTHING = _Nothing()


def _compare(key: str, base, other, found: dict) -> None:
    if (
        isinstance(base, Mapping)
        and isinstance(other, Mapping)
        and base.get('type') == other.get('type')
    ):
        for name in dict.fromkeys((*base, *other)):
            _compare(f'{key}.{name}', base.get(name, _NOTHING), other.get(name, _NOTHING), found)
    elif (
        _is_list(base)
        and _is_list(other)
        and len(base) == len(other)
        and any(isinstance(item, Mapping) for item in base)
    ):
        for i, (one, two) in enumerate(zip(base, other, strict=True)):
            _compare(f'{key}.{i}', one, two, found)
    elif list(base) != list(other) if _is_list(base) and _is_list(other) else base != other:
        found[key] = (in_words(base), in_words(other))


def _is_list(value) -> bool:
    return isinstance(value, (list, tuple))


def in_words(value) -> str:
    """A value of a config as one would write it, components as calls."""
    if isinstance(value, _Nothing):
        return ABSENT
    if isinstance(value, Mapping):
        kind = value.get('type', 'dict')
        kind = kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
        rest = (f'{k}={in_words(v)}' for k, v in value.items() if k not in ('type', '_scope_'))
        return f'{kind}({", ".join(rest)})'
    if _is_list(value):
        return f'[{", ".join(map(in_words, value))}]'
    return value if isinstance(value, str) else repr(value)
