"""The priors that every config's assigner gave each person, on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from ..analysis.assignment_stats import wishes
from ..analysis.pictures import assignment_picture, write_picture
from ..analysis.recording import assignments_of
from ..analysis.samples import find_pictures, plain_dataset
from ..compat import mmengine_log_allowed
from ..evaluation.annotations import CrowdAnnotation
from .runs import Run

FOLDER = 'assignments'
#: What is raised where a head hands over nothing to see: two stages, no assigner, another contract.
MISFITS = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def choose_pictures(annotations: Sequence[CrowdAnnotation], number: int = 3) -> list:
    """Pictures worth looking at: with people who overlap, of few, some and many people.

    Args:
        annotations (Sequence[CrowdAnnotation]): Of the test set.
        number (int): How many. Defaults to 3.

    Returns:
        list: IDs, by rising number of people; fewer where there are fewer pictures with people.
    """
    crowded = [a for a in annotations if (~a.ignored).any()]
    overlapping = [a for a in crowded if a.crowdedness().max() > 0.3]
    among = overlapping if len(overlapping) >= number else crowded
    among = sorted(among, key=lambda a: ((~a.ignored).sum(), str(a.img_id)))
    # not the very emptiest and fullest
    places = np.linspace(0.1, 0.8, number) * (len(among) - 1)
    return (
        [among[i].img_id for i in dict.fromkeys(places.round().astype(int).tolist())]
        if among
        else []
    )


def draw_gallery(run: Run, img_ids: Sequence, width: int = 720) -> dict:
    """Draw what the assigner of a trained run decides, into the run's folder.

    Pictures that are there already are not drawn again, so that the checkpoint may go.

    Args:
        run (Run): With a checkpoint.
        img_ids (Sequence): Of the pictures.
        width (int): Of a picture in pixels, about. Defaults to 720.

    Returns:
        dict: By ID, the JPEG file. Empty where there is neither a picture nor a checkpoint.

    Raises:
        ValueError: The detector has no assigner to look into; the message says why.
    """
    paths = {
        img_id: run.folder / FOLDER / f'{index}-{_safe(img_id)}.jpg'
        for index, img_id in enumerate(img_ids)
    }
    if all(path.is_file() for path in paths.values()):
        return paths
    checkpoint = run.checkpoint()
    if checkpoint is None:
        return {}
    cfg = run.variant.cfg
    try:
        _draw(cfg, checkpoint, paths, width)
    except MISFITS as error:
        raise ValueError(f'{type(error).__name__}: {error}') from error
    return paths


def _draw(cfg: Config, checkpoint: Path, paths: dict, width: int) -> None:
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = plain_dataset(cfg, 'val')
    model = MODELS.build(cfg.model)
    with mmengine_log_allowed():
        load_checkpoint(model, str(checkpoint), map_location='cpu', logger='silent')
    # Some heads (TOODHead) ask the running training for the epoch; theirs is over.
    epochs = cfg.train_cfg.get('max_epochs') or 0
    MessageHub.get_instance('ablation').update_info('epoch', epochs)
    for img_id, index in zip(
        paths, find_pictures(dataset, [str(img_id) for img_id in paths]), strict=True
    ):
        sample = dataset[index]
        (call,) = assignments_of(model, [sample])
        drawn = assignment_picture(sample, call, wishes(call), width=width)
        write_picture(paths[img_id], drawn)


def _safe(img_id) -> str:
    return ''.join(c if c.isalnum() else '_' for c in str(img_id))[:80]
