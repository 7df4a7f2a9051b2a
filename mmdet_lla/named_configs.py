"""Configs by name: files, and those that installed packages bring ('mmdet::...')."""

from __future__ import annotations

from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from mmengine.config import Config

from .utils.names import closest, did_you_mean


def config_path(name: str | PathLike) -> Path:
    """Return the file of a config.

    Example:
        >>> config_path('mmdet_lla::lla-s_mobilenetv2_fpn_1xb4-7k_crowd').name
        'lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py'

    Args:
        name (str | PathLike): A path, or ``package::name``, as in a config's ``_base_``: the path
            below the package's configs ('mmdet::atss/atss_r50_fpn_1x_coco.py'), or the name alone
            ('mmdet::atss_r50_fpn_1x_coco'), as mim takes it. No package is installed for it, as
            ``mmengine.hub.get_config`` would do.

    Raises:
        FileNotFoundError: There is none; the message suggests similar names.
        ValueError: The package has several of that name.
    """
    package, mark, inside = str(name).partition('::')
    if not mark:
        path = Path(name).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'No config {name} here{_suggest(path)}')
        return path
    directory = _find_configs(package, str(name))
    inside = inside.removesuffix('.py') + '.py'
    if (directory / inside).is_file():
        return directory / inside
    paths = sorted(directory.rglob('*.py'))
    same = [path for path in paths if path.name == inside]
    if len(same) > 1:
        raise ValueError(
            f'{package} has {len(same)} configs {inside}, expected the directory, too: '
            + ', '.join(path.relative_to(directory).as_posix() for path in same)
        )
    if not same:
        known = {path.stem: path.relative_to(directory).as_posix() for path in paths}
        similar = [f'{package}::{known[one]}' for one in closest(Path(inside).stem, known)]
        raise FileNotFoundError(
            f'No config {name}: {package} has none of that name'
            + (f'; did you mean {" or ".join(similar)}?' if similar else '')
        )
    return same[0]


def read_config(name: str | PathLike) -> Config:
    """Read a config by its path or name; see :func:`config_path`.

    Example:
        >>> read_config('mmdet_lla::lla-s_mobilenetv2_fpn_1xb4-7k_crowd').model.bbox_head.type
        'LLAHead'

    Raises:
        FileNotFoundError: There is none.
        ValueError: The package has several of that name, or the file is no valid config.
    """
    path = config_path(name)
    try:
        return Config.fromfile(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # a config is code and fails in any way
        raise ValueError(f'{path} is no valid config: {type(error).__name__}: {error}') from error


def _suggest(path: Path) -> str:
    """Return similar files in the same directory and similar configs of this package."""
    beside = [str(one) for one in path.parent.glob('*.py')] if path.parent.is_dir() else []
    if found := did_you_mean(str(path), beside):
        return found
    ours = {one.stem: one.name for one in _find_configs('mmdet_lla', str(path)).rglob('*.py')}
    similar = [f'mmdet_lla::{ours[one]}' for one in closest(path.stem, ours)]
    return f'; did you mean {" or ".join(similar)}?' if similar else ''


def _find_configs(package: str, name: str) -> Path:
    """Return the directory of a package's configs: inside it or, in a checkout, beside it."""
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f'No config {name}: no package {package!r} is installed')
    inside = Path(spec.submodule_search_locations[0])
    places = [inside / '.mim' / 'configs', inside.parent / 'configs']
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f'No config {name}: {package} came without configs; looked for '
        f'{" and ".join(map(str, places))}'
    )
