"""Whether a dataset's files are there at all, asked before anything is built."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping

_CROWD_HINT = (
    'CrowdHuman is downloaded from https://www.crowdhuman.org (annotation_train.odgt, '
    'annotation_val.odgt, and the zipped pictures, all unpacked into one folder Images); '
    'configs/crowdhuman/README.md shows the layout. To go on without it, generate crowd '
    'pictures in the same format: `python tools/make_crowd.py data/crowd`.'
)
_CITYPERSONS_HINT = (
    'The pictures (leftImg8bit_trainvaltest.zip) come from https://www.cityscapes-dataset.com, '
    'the annotations (anno_train.mat, anno_val.mat) from '
    'https://github.com/cvgroup-njust/CityPersons; configs/citypersons/README.md shows the layout.'
)
_COCO_HINT = (
    'COCO 2017 is downloaded from https://cocodataset.org (train2017, val2017, annotations); '
    'configs/coco_person/README.md shows the layout.'
)
_HINTS = {
    'CrowdDataset': _CROWD_HINT,
    'CrowdHumanDataset': _CROWD_HINT,
    'CityPersonsDataset': _CITYPERSONS_HINT,
    'CocoDataset': _COCO_HINT,
}


def check_dataset_files(cfg_dataset: Mapping) -> None:
    """Raise if an annotation file or a picture folder of a dataset config is not there.

    Wrappers (``RepeatDataset``, ``ConcatDataset``, ``MultiImageMixDataset``, ...) are looked
    through: whatever they hold under ``dataset`` or ``datasets`` is checked. Paths with a scheme
    (``s3://...``) are left to their backend.

    Args:
        cfg_dataset: Config of any mmdet dataset with ``ann_file``, ``data_prefix`` and
            ``data_root``, or of a wrapper around such.

    Raises:
        FileNotFoundError: Says what is missing, where it was looked for, and how to get it.
    """
    for leaf in _leaves(cfg_dataset):
        kind = leaf.get('type', 'dataset')
        check_paths(
            kind if isinstance(kind, str) else kind.__name__,
            leaf.get('ann_file'),
            leaf.get('data_prefix'),
            leaf.get('data_root'),
        )


def check_paths(
    kind: str,
    ann_file: str | None,
    data_prefix: Mapping[str, str] | None,
    data_root: str | None = None,
) -> None:
    """Raise if the annotation file or a picture folder does not exist.

    Args:
        kind: Name of the dataset class; chooses the advice given.
        ann_file: Annotation file; None or '' when the dataset has none.
        data_prefix: Folders by name, as mmengine's ``BaseDataset`` takes them.
        data_root: Folder that relative paths start from.

    Raises:
        FileNotFoundError: Says what is missing, where it was looked for, and how to get it.
    """
    missing = []
    if ann_file:
        path = _join(data_root, ann_file)
        if _is_local(path) and not osp.isfile(path):
            missing.append(f'annotation file: {osp.abspath(path)}')
    for name, prefix in (data_prefix or {}).items():
        if not isinstance(prefix, str):
            continue
        path = _join(data_root, prefix)
        if path and _is_local(path) and not osp.isdir(path):
            missing.append(f'folder of data_prefix[{name!r}]: {osp.abspath(path)}')
    if not missing:
        return
    kind = kind.rsplit('.', 1)[-1]
    lines = [f'{kind}: part of the dataset is not there. Looked for']
    lines += [f'  {item}' for item in missing]
    if kind in _HINTS:
        lines.append(_HINTS[kind])
    lines.append(
        'If it lies elsewhere, set data_root, ann_file or data_prefix of the dataset in the config.'
    )
    raise FileNotFoundError('\n'.join(lines))


def _leaves(cfg: Mapping) -> Iterator[Mapping]:
    """Yield the datasets inside any nesting of wrappers."""
    if 'dataset' in cfg:
        yield from _leaves(cfg['dataset'])
    elif 'datasets' in cfg:
        for child in cfg['datasets']:
            yield from _leaves(child)
    else:
        yield cfg


def _join(root: str | None, path: str) -> str:
    return path if not root or _has_scheme(path) else osp.join(root, path)


def _has_scheme(path: str) -> bool:
    return '://' in path


def _is_local(path: str) -> bool:
    return not _has_scheme(path) and not path.startswith('s3:')
