"""Configs by name: files, and those that installed packages bring ('mmdet::...')."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from mmengine.config import Config


def config_path(name: str | PathLike) -> Path:
    """The file of a config.

    Args:
        name (str | PathLike): A path, or ``package::name``, as in a config's ``_base_``: the path
            below the package's configs ('mmdet::atss/atss_r50_fpn_1x_coco.py'), or the name alone
            ('mmdet::atss_r50_fpn_1x_coco'), as mim takes it. No package is installed for it, as
            ``mmengine.hub.get_config`` would do.

    Raises:
        FileNotFoundError: It is not there; the message says what was looked for.
        ValueError: The package has several of that name.
    """
    package, mark, inside = str(name).partition('::')
    if not mark:
        path = Path(name).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'No config {name} here; configs/ holds those of mmdet_lla')
        return path
    folder = _configs_of(package, str(name))
    inside = inside.removesuffix('.py') + '.py'
    if (folder / inside).is_file():
        return folder / inside
    paths = sorted(folder.rglob('*.py'))
    same = [path for path in paths if path.name == inside]
    if len(same) > 1:
        raise ValueError(
            f'{package} has {len(same)} configs {inside}, expected the folder, too: '
            + ', '.join(path.relative_to(folder).as_posix() for path in same)
        )
    if not same:
        known = {path.stem: path.relative_to(folder).as_posix() for path in paths}
        close = get_close_matches(Path(inside).stem, known, 3, 0.7)
        raise FileNotFoundError(
            f'No config {name}: {package} has none of that name'
            + (f'; did you mean {", ".join(f"{package}::{known[one]}" for one in close)}?')
            * bool(close)
        )
    return same[0]


def read_config(name: str | PathLike) -> Config:
    """A config by its path or name; see :func:`config_path`.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: The package has several of that name.
    """
    return Config.fromfile(config_path(name))


def _configs_of(package: str, name: str) -> Path:
    """Where a package keeps its configs: in it, if installed, beside it in a checkout."""
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
