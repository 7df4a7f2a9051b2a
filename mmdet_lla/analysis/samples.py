"""Pictures of a config's data sets as a tested detector sees them, with boxes."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset


def plain_dataset(cfg: Config, split: str = 'val') -> BaseDataset:
    """A data set of a config as a detector sees it when tested, with boxes in the same pixels.

    The pipeline is that of the validation set without augmentation; annotations are loaded
    before the picture is resized, so that boxes go with it.

    Args:
        cfg (Config): With ``val_dataloader``, and ``train_dataloader`` if that is asked for.
            Wrappers of data sets (MultiImageMixDataset, RepeatDataset) are looked into.
        split (str): 'train' or 'val'. Defaults to 'val'.

    Raises:
        ValueError: If the config has no such data set.
    """
    loaders = {name: cfg.get(f'{name}_dataloader') for name in ('train', 'val')}
    if split not in loaders:
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    for name in {split, 'val'}:
        if not loaders[name]:
            raise ValueError(
                f'the config has no {name}_dataloader; '
                f'it is needed for the {"pictures" if name == split else "pipeline"}'
            )
    pipeline = _with_boxes(_innermost(loaders['val'].dataset).pipeline)
    return DATASETS.build(_with_pipeline(loaders[split].dataset, pipeline))


def _innermost(dataset: ConfigDict) -> ConfigDict:
    while 'pipeline' not in dataset or 'dataset' in dataset or 'datasets' in dataset:
        if 'datasets' in dataset:
            dataset = dataset.datasets[0]
        elif 'dataset' in dataset:
            dataset = dataset.dataset
        else:
            raise ValueError(f'{dataset.get("type")} has no pipeline')
    return dataset


def _with_pipeline(dataset: ConfigDict, pipeline: list) -> ConfigDict:
    """The data set without wrappers that mix or repeat pictures, under another pipeline."""
    if 'datasets' in dataset:
        return ConfigDict(
            {**dataset, 'datasets': [_with_pipeline(one, pipeline) for one in dataset.datasets]}
        )
    if 'dataset' in dataset:
        return _with_pipeline(dataset.dataset, pipeline)
    return ConfigDict({**dataset, 'pipeline': copy.deepcopy(pipeline)})


def _with_boxes(pipeline: Sequence[dict]) -> list[dict]:
    """A pipeline whose annotations are loaded right after the picture."""
    annotations = [step for step in pipeline if 'LoadAnnotations' in str(step['type'])]
    others = [step for step in pipeline if step not in annotations]
    after = 1 + max(
        (i for i, step in enumerate(others) if 'LoadImage' in str(step['type'])), default=-1
    )
    annotations = annotations or [dict(type='LoadAnnotations', with_bbox=True)]
    return [*others[:after], *annotations, *others[after:]]


def find_pictures(dataset: BaseDataset, wanted: Sequence[str]) -> list[int]:
    """Places of pictures in a data set, by ID or file name without extension.

    Raises:
        ValueError: If one is not there.
    """
    places = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        places.setdefault(Path(info['img_path']).stem, i)
        places[str(info['img_id'])] = i
    missing = [name for name in wanted if name not in places]
    if missing:
        raise ValueError(
            f'no picture {", ".join(missing)} among {len(dataset)} of the data set; '
            f'its IDs are like {", ".join(list(places)[:3])}'
        )
    return [places[name] for name in wanted]


def picture_name(sample: dict) -> str:
    """A picture's ID, fit for a file name."""
    return re.sub(r'[^\w.,=-]+', '_', str(sample['data_samples'].img_id))
