"""The models that ship with the package, by name.

To ship one, put its published checkpoint (``tools/publish.py``) into ``mmdet_lla/models/`` and add
a line here.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / 'models'

#: File in ``FOLDER`` by the name of the model.
MODELS: dict[str, str] = {'lla-s': 'lla-s_6MB-eebdef0e.pth'}


def shipped_model(name: str) -> Path | None:
    """File of a model that ships; None if none has that name.

    Raises:
        FileNotFoundError: It should be there and is not.
    """
    if name not in MODELS:
        return None
    path = FOLDER / MODELS[name]
    if not path.is_file():
        raise FileNotFoundError(f'{name} ships with mmdet_lla, but {path} is not there; reinstall')
    return path
