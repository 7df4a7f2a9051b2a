"""Draw the priors that each config's assigner gives each gt, on the same images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope

from ..analysis.assignment_stats import compute_candidates
from ..analysis.images import render_assignment, write_image
from ..analysis.recording import compute_assignments
from ..analysis.samples import build_plain_dataset, find_indices
from ..evaluation.annotations import CrowdAnnotation
from ..plain_checkpoints import load_weights
from .runs import Run

DIRECTORY = 'assignments'
#: Raised where a head has no assignment to show: two stages, no assigner, another interface.
UNSUPPORTED = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def select_images(annotations: Sequence[CrowdAnnotation], number: int = 3) -> list:
    """Select images with overlapping gts, from few to many gts.

    Returns:
        list: Image IDs by increasing number of gts; fewer if there are fewer images with gts.
    """
    annotated = [a for a in annotations if (~a.ignored).any()]
    crowded = [a for a in annotated if a.crowdedness().max() > 0.3]
    pool = crowded if len(crowded) >= number else annotated
    if not pool:
        return []
    pool = sorted(pool, key=lambda a: ((~a.ignored).sum(), str(a.img_id)))
    # Skip the emptiest and the fullest images.
    indices = np.linspace(0.1, 0.8, number) * (len(pool) - 1)
    return [pool[i].img_id for i in dict.fromkeys(indices.round().astype(int).tolist())]


def draw_gallery(run: Run, img_ids: Sequence, width: int = 720) -> dict:
    """Draw the assignments of a trained run into its directory; existing images are kept.

    Returns:
        dict: JPEG file by image ID. Empty if there is neither an image nor a checkpoint.

    Raises:
        ValueError: The detector has no assigner that can be shown.
    """
    paths = {
        img_id: run.work_dir
        / DIRECTORY
        / f'{i}-{re.sub(r"[^0-9a-zA-Z]", "_", str(img_id))[:80]}.jpg'
        for i, img_id in enumerate(img_ids)
    }
    if all(path.is_file() for path in paths.values()):
        return paths
    checkpoint = run.checkpoint()
    if checkpoint is None:
        return {}
    try:
        _draw(run.variant.cfg, checkpoint, paths, width)
    except UNSUPPORTED as error:
        raise ValueError(f'{type(error).__name__}: {error}') from error
    return paths


def _draw(cfg: Config, checkpoint: Path, paths: dict, width: int) -> None:
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = build_plain_dataset(cfg, 'val')
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    # Some heads (TOODHead) read the epoch of the running training.
    epochs = cfg.train_cfg.get('max_epochs') or 0
    MessageHub.get_instance('ablation').update_info('epoch', epochs)
    indices = find_indices(dataset, [str(img_id) for img_id in paths])
    for img_id, index in zip(paths, indices, strict=True):
        sample = dataset[index]
        (call,) = compute_assignments(model, [sample])
        drawn = render_assignment(sample, call, compute_candidates(call), width=width)
        write_image(paths[img_id], drawn)
