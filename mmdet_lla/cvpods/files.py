"""Checkpoint files of cvpods and of mmdet, read by their tensors and plain values alone."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping
from os import PathLike

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from torch import Tensor

from ..hooks.checkpoint_files import AtomicBackend
from .names import Conversion


def read_checkpoint(path: str | PathLike, key: str) -> dict:
    """Read a checkpoint by its tensors and plain values alone; no class in it is ever built.

    Args:
        path (str | PathLike): Checkpoint.
        key (str): Entry that holds the weights: 'model' with cvpods, 'state_dict' with mmdet.

    Returns:
        dict: The checkpoint. Names in ``key`` have lost the ``module.`` of parallel training.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else, or no weights under ``key``.
    """
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} holds more than tensors and plain values, and is not read: {error}. If you '
            f"trust it, save its {key!r} alone where it was made: torch.save({{'{key}': "
            f"checkpoint['{key}']}}, path)"
        ) from error
    except Exception as error:  # damage leads the decoder astray in many ways
        raise ValueError(
            f'{path} is no checkpoint that torch can read ({type(error).__name__}: {error})'
        ) from error
    weights = checkpoint.get(key) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, Mapping) or not weights:
        found = ', '.join(map(str, checkpoint)) if isinstance(checkpoint, dict) else 'no entries'
        raise ValueError(
            f'{path} has no weights under {key!r}, expected there; it has {found:.300}'
        )
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f'{path}: {name} is a {type(tensor).__name__}, expected a tensor')
    if all(name.startswith('module.') for name in weights):
        weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
    return {**checkpoint, key: dict(weights)}


def mmdet_checkpoint(conversion: Conversion, cfg: Config, source: str) -> dict:
    """What mmdet loads: weights, and in plain values what they are for.

    Args:
        conversion (Conversion): See :func:`to_mmdet`.
        cfg (Config): Config of the model.
        source (str): Where the weights came from, in words.
    """
    meta = dict(cfg=cfg.pretty_text, source=source)
    dataset = DATASETS.get(cfg.test_dataloader.dataset.type) if 'test_dataloader' in cfg else None
    if dataset is not None:
        meta['dataset_meta'] = copy.deepcopy(dataset.METAINFO)
    return dict(meta=meta, state_dict=conversion.state_dict)


def write_checkpoint(path: str | PathLike, checkpoint: dict) -> None:
    """Write a checkpoint whole or not at all."""
    file = io.BytesIO()
    torch.save(checkpoint, file)
    AtomicBackend().put(file.getvalue(), path)
