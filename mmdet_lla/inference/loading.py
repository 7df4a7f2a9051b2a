"""Loads detectors from configs, checkpoints and exported files; imports only what each needs.

Every detector has ``classes``, ``threshold``, ``metrics``, ``prepare`` (preprocess one image) and
``detect`` (a batch of preprocessed images to :class:`Detections`).
"""

from __future__ import annotations

import copy
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import MODELS, shipped_model
from ..runtime import Detector

if TYPE_CHECKING:
    from mmengine.config import Config

    from .model import TorchDetector

EXPORTED = ('.onnx', '.xml')
CHECKPOINTS = ('.pth', '.pt')


def load_detector(
    model: str | PathLike | Config,
    weights: str | PathLike | None = None,
    device: str = 'auto',
    cfg_options: dict | None = None,
    backend: str = 'auto',
    threads: int | None = None,
) -> TorchDetector | Detector:
    """Load a detector of any form.

    Args:
        model (str | PathLike | Config): A config with ``weights``, as a file, as 'mmdet::...' for
            one of mmdet's, or in memory; a published checkpoint; an exported file; the name of a
            shipped model; or a loaded detector, which is returned.
        weights (str | PathLike, optional): Checkpoint for a config.
        device (str): Device of torch; 'auto' is a GPU if there is one. Defaults to 'auto'.
        cfg_options (dict, optional): Settings of the config to override.
        backend (str): See :class:`mmdet_lla.runtime.Detector`; for exported files.
        threads (int, optional): Compute threads; torch has one number for the whole process.

    Raises:
        FileNotFoundError: A named file does not exist.
        ValueError: The model or device cannot be used; the message says why.

    Example:
        >>> load_detector('lla-x')
        Traceback (most recent call last):
        ...
        ValueError: lla-x is not a model: expected a config (.py) with --weights, a published \
checkpoint (.pth), an exported file (.onnx, .xml) or the name of a shipped model (lla-n, lla-s)
    """
    if hasattr(model, 'prepare') and hasattr(model, 'detect'):
        return model
    if not isinstance(model, (str, PathLike)):
        return _from_config(model, weights, device, cfg_options, threads)
    name = str(model)
    shipped = shipped_model(name)
    path = shipped or Path(name).expanduser()
    if shipped is None and (path.suffix == '.py' or '::' in name):
        from ..named_configs import read_config

        return _from_config(read_config(name), weights, device, cfg_options, threads)
    if weights is not None:
        raise ValueError(f'{name} has its own weights; --weights needs a config')
    if path.suffix in EXPORTED:
        if cfg_options:
            raise ValueError(f'{name} is exported, so its settings are fixed; got {cfg_options}')
        if device not in ('auto', 'cpu'):
            raise ValueError(f'{name} is exported and runs on the CPU; got device {device!r}')
        return Detector(path, backend, threads)
    if path.suffix in CHECKPOINTS:
        from ..plain_checkpoints import read_checkpoint
        from .published import config_of

        device = resolve_device(device)
        checkpoint = read_checkpoint(path)
        cfg = config_of(checkpoint, path)
        return _from_checkpoint(cfg, checkpoint, path.stem, device, cfg_options, threads)
    raise ValueError(
        f'{name} is not a model: expected a config (.py) with --weights, a published checkpoint '
        f'(.pth), an exported file (.onnx, .xml) or the name of a shipped model '
        f'({", ".join(MODELS)})'
    )


def resolve_device(device: str) -> str:
    """Return the device of torch to use; 'auto' is a GPU if there is one.

    Raises:
        ValueError: The device does not exist here.

    Example:
        >>> resolve_device('cpu')
        'cpu'
    """
    import torch

    if device == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        wanted = torch.device(device)
        if wanted.type == 'cuda' and not torch.cuda.is_available():
            raise RuntimeError('this torch finds no CUDA device')
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split('\n')[0]
        raise ValueError(f'device {device!r} cannot be used: {reason}') from error
    return device


def _from_config(
    cfg: Config,
    weights: str | PathLike | None,
    device: str,
    cfg_options: dict | None,
    threads: int | None,
) -> TorchDetector:
    from ..plain_checkpoints import read_checkpoint

    name = Path(cfg.filename or 'the config')
    if weights is None:
        raise ValueError(f'{name} is a config without weights: name its checkpoint with --weights')
    device = resolve_device(device)
    checkpoint = read_checkpoint(Path(weights).expanduser())
    return _from_checkpoint(cfg, checkpoint, name.stem, device, cfg_options, threads)


def _from_checkpoint(
    cfg: Config,
    checkpoint: dict,
    name: str,
    device: str,
    cfg_options: dict | None,
    threads: int | None,
) -> TorchDetector:
    import torch

    from .model import TorchDetector

    if threads:
        torch.set_num_threads(threads)
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(cfg_options or {})
    return TorchDetector(cfg, checkpoint, device, name)
