"""Images of a config's datasets as a detector sees them in tests, with gts."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset


def build_plain_dataset(cfg: Config, split: str = 'val') -> BaseDataset:
    """Build a dataset whose images are as in tests, with gts in the same pixels.

    The pipeline is that of the validation set, without augmentation. Annotations are loaded before
    the image is resized, so that boxes are resized with it.

    Args:
        cfg (Config): Config with ``val_dataloader``, and ``train_dataloader`` for that split.
            Wrappers of datasets (MultiImageMixDataset, RepeatDataset) are unwrapped.
        split (str): 'train' or 'val'. Defaults to 'val'.

    Raises:
        ValueError: The config has no such dataset.
    """
    loaders = {name: cfg.get(f'{name}_dataloader') for name in ('train', 'val')}
    if split not in loaders:
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    for name in {split, 'val'}:
        if not loaders[name]:
            raise ValueError(
                f'the config has no {name}_dataloader; '
                f'it is needed for the {"images" if name == split else "pipeline"}'
            )
    pipeline = _move_annotations(_find_pipeline(loaders['val'].dataset))
    return DATASETS.build(_replace_pipeline(loaders[split].dataset, pipeline))


def _find_pipeline(dataset: ConfigDict) -> list:
    if 'datasets' in dataset:
        return _find_pipeline(dataset.datasets[0])
    if 'dataset' in dataset:
        return _find_pipeline(dataset.dataset)
    if 'pipeline' not in dataset:
        raise ValueError(f'{dataset.get("type")} has no pipeline')
    return dataset.pipeline


def _replace_pipeline(dataset: ConfigDict, pipeline: list) -> ConfigDict:
    """Replace the pipeline and remove wrappers that mix or repeat images."""
    if 'datasets' in dataset:
        parts = [_replace_pipeline(one, pipeline) for one in dataset.datasets]
        return ConfigDict({**dataset, 'datasets': parts})
    if 'dataset' in dataset:
        return _replace_pipeline(dataset.dataset, pipeline)
    return ConfigDict({**dataset, 'pipeline': copy.deepcopy(pipeline)})


def _move_annotations(pipeline: Sequence[dict]) -> list[dict]:
    """Load annotations right after the image."""
    annotations = [step for step in pipeline if 'LoadAnnotations' in str(step['type'])]
    others = [step for step in pipeline if step not in annotations]
    loads = [i for i, step in enumerate(others) if 'LoadImage' in str(step['type'])]
    after = 1 + max(loads, default=-1)
    annotations = annotations or [dict(type='LoadAnnotations', with_bbox=True)]
    return [*others[:after], *annotations, *others[after:]]


def find_indices(dataset: BaseDataset, names: Sequence[str]) -> list[int]:
    """Find images in a dataset by ID or by file name without extension.

    Raises:
        ValueError: An image is not in the dataset.
    """
    indices = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        indices.setdefault(Path(info['img_path']).stem, i)
        indices[str(info['img_id'])] = i
    missing = [name for name in names if name not in indices]
    if missing:
        raise ValueError(
            f'no image {", ".join(missing)} among the {len(dataset)} of the dataset; '
            f'its IDs are like {", ".join(list(indices)[:3])}'
        )
    return [indices[name] for name in names]


def get_file_name(sample: dict) -> str:
    """Return the ID of an image with the characters that file names allow."""
    return re.sub(r'[^\w.,=-]+', '_', str(sample['data_samples'].img_id))
