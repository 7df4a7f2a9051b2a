"""Weights that ship with the package, by name.

To ship a model, put its published checkpoint (``mmdet-lla publish``) into this directory and add a
line here.

>>> shipped_model('lla-s').suffix
'.pth'
"""

from __future__ import annotations

from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent

#: File in ``DIRECTORY`` by the name of the model.
MODELS: dict[str, str] = {
    'lla-n': 'lla-n_5MB-bef61e3d.pth',
    'lla-s': 'lla-s_6MB-eca29335.pth',
}
#: Models of earlier versions by the name of their file; the weights are the same.
EARLIER = {'lla-s_6MB-eebdef0e': 'lla-s'}


class UnsuitableModelError(ValueError):
    """A model that cannot detect in any image."""


def shipped_model(name: str) -> Path | None:
    """Return the file of a model that ships, None if none has that name.

    Raises:
        FileNotFoundError: It should be there and is not.
    """
    name = EARLIER.get(name, name)
    if name not in MODELS:
        return None
    path = DIRECTORY / MODELS[name]
    if not path.is_file():
        raise FileNotFoundError(f'{name} ships with mmdet_lla, but {path} is not there; reinstall')
    return path


def load_shipped(filename: str, map_location: str | None = None) -> dict:
    """Load a checkpoint that ships: ``load_from = 'mmdet_lla://lla-s'``.

    Raises:
        ValueError: No model has that name.
    """
    from ..plain_checkpoints import read_checkpoint

    name = filename.removeprefix('mmdet_lla://')
    path = shipped_model(name)
    if path is None:
        raise ValueError(f'{filename}: no model {name!r} ships, choose from: {", ".join(MODELS)}')
    return read_checkpoint(path)
