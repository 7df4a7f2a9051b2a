"""Checkpoint files: weights of cvpods with what mmdet wants to know of them."""

from __future__ import annotations

import copy
import io
from os import PathLike

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config

from ..hooks.checkpoint_files import AtomicBackend
from .names import Conversion


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
