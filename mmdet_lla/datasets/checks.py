"""Check the data that a config names before anything is built: files, class names, class counts."""

from __future__ import annotations

import json
import os.path as osp
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

from ..utils.files import is_local
from .odgt import iter_records
from .text import read_bytes, read_text

_CROWD_HINT = (
    'CrowdHuman is downloaded from https://www.crowdhuman.org (annotation_train.odgt, '
    'annotation_val.odgt, and the zipped images, all unpacked into one directory Images); '
    'configs/crowdhuman/README.md shows the layout. To go on without it, generate crowd '
    'images in the same format: `python tools/make_crowd.py data/crowd`.'
)
_CITYPERSONS_HINT = (
    'The images (leftImg8bit_trainvaltest.zip) come from https://www.cityscapes-dataset.com, '
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
_DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_SHOWN = 20


class ClassMismatchError(ValueError):
    """Class names or class counts of config and annotations do not fit together."""


def check_config_data(cfg: Mapping, dataloaders: Iterable[str] = _DATALOADERS) -> None:
    """Check files and classes of the datasets of a config, without building anything.

    >>> check_config_data({'train_dataloader': None})

    Args:
        cfg: Whole config.
        dataloaders: Names of the dataloaders to check; those that the config lacks are passed over.

    Raises:
        FileNotFoundError: An annotation file or image directory does not exist.
        ClassMismatchError: No class name of a dataset occurs in its annotation file, or
            ``num_classes`` of a head differs from the number of its classes.
        AnnotationError: An annotation file cannot be read.
    """
    for name in dataloaders:
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        try:
            check_dataset_files(dataset)
            check_classes(dataset, cfg.get('model') or {})
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{name}.dataset: {error}') from error


def check_dataset_files(cfg_dataset: Mapping) -> None:
    """Raise if an annotation file or an image directory of a dataset config does not exist.

    Datasets inside wrappers (``RepeatDataset``, ``ConcatDataset``, ``MultiImageMixDataset``, ...)
    are checked as well. Paths with a scheme (``s3://...``) are left to their backend.

    Args:
        cfg_dataset: Config of any mmdet dataset with ``ann_file``, ``data_prefix`` and
            ``data_root``, or of a wrapper around such.

    Raises:
        FileNotFoundError: Lists what is missing, where it was expected, and how to get it.
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
    """Raise if the annotation file or an image directory does not exist.

    Args:
        kind: Name of the dataset class; selects the download hint.
        ann_file: Annotation file; None or '' when the dataset has none.
        data_prefix: Directories by name, as mmengine's ``BaseDataset`` takes them.
        data_root: Directory that relative paths start from.

    Raises:
        FileNotFoundError: Lists what is missing, where it was expected, and how to get it.
    """
    missing = []
    if ann_file:
        path = _join(data_root, ann_file)
        if is_local(path) and not osp.isfile(path):
            missing.append(f'annotation file: {osp.abspath(path)}')
    for name, prefix in (data_prefix or {}).items():
        if not isinstance(prefix, str):
            continue
        path = _join(data_root, prefix)
        if path and is_local(path) and not osp.isdir(path):
            missing.append(f'directory of data_prefix[{name!r}]: {osp.abspath(path)}')
    if not missing:
        return
    kind = kind.rsplit('.', 1)[-1]
    lines = [f'{kind}: part of the dataset does not exist:']
    lines += [f'  {item}' for item in missing]
    if kind in _HINTS:
        lines.append(_HINTS[kind])
    lines.append(
        'If it is elsewhere, set data_root, ann_file or data_prefix of the dataset in the config.'
    )
    raise FileNotFoundError('\n'.join(lines))


def check_classes(cfg_dataset: Mapping, cfg_model: Mapping) -> None:
    """Compare the class names of a dataset config with its annotation file and with the heads.

    Read are mmdet's ``CocoDataset``, ``XMLDataset`` (VOC) and ``CrowdHumanDataset``, ours, and
    their subclasses. Of others only the number of classes is compared.

    Args:
        cfg_dataset: Config of a dataset or of a wrapper around such.
        cfg_model: Config of the model.

    Raises:
        ClassMismatchError: See :func:`check_config_data`.
    """
    from mmdet.registry import DATASETS

    for leaf in _leaves(cfg_dataset):
        kind = leaf.get('type')
        dataset = DATASETS.get(kind) if isinstance(kind, str) else kind
        if dataset is None:  # building it reports an unknown type
            continue
        classes = (leaf.get('metainfo') or {}).get('classes')
        if classes is None:
            classes = getattr(dataset, 'METAINFO', {}).get('classes')
        if isinstance(classes, str):
            if osp.isfile(classes):
                classes = read_text(classes).split('\n')
            else:
                raise ClassMismatchError(
                    f'metainfo.classes is the text {classes!r}, expected a tuple; write '
                    f'classes=({classes!r},)'
                )
        if not classes:
            continue
        path = _join(leaf.get('data_root'), leaf.get('ann_file') or '')
        if leaf.get('ann_file') and is_local(path):
            _check_names(dataset, leaf, path, list(classes))
        _check_counts(cfg_model, list(classes))


def _check_names(dataset: type, leaf: Mapping, path: str, classes: list[str]) -> None:
    """Raise if no class of the config occurs in the annotation file."""
    bases = {base.__name__ for base in dataset.__mro__}
    wanted = classes
    if 'CrowdDataset' in bases:
        wanted = ['person']  # whatever the config calls the class
        found = _find_tags(path, wanted)
    elif 'CrowdHumanDataset' in bases:
        found = _find_tags(path, wanted)
    elif 'XMLDataset' in bases:
        found = _find_voc_classes(path, leaf, wanted)
    elif 'CocoDataset' in bases:
        found = _find_coco_classes(path)
    else:
        return
    if found is None or set(found) & set(wanted):
        return
    raise ClassMismatchError(
        f'{dataset.__name__}: no class of the config occurs in {path}, so every annotation would '
        'be dropped (mmdet fails with "need at least one array to concatenate").\n'
        f'  classes in the file: {_show(found)}\n'
        f'  classes in the config: {_show(wanted)}\n'
        f'Set metainfo=dict(classes={tuple(found[:_SHOWN])}) of the dataset and num_classes of the '
        'head in the config, or correct the file.'
    )


def _check_counts(cfg_model: Mapping, classes: list[str]) -> None:
    """Raise if ``num_classes`` of a box or mask head differs from the number of classes."""
    if 'language_model' in cfg_model:  # an open vocabulary has no fixed number of classes
        return
    for place, num_classes in _find_num_classes(cfg_model, 'model'):
        if num_classes != len(classes):
            raise ClassMismatchError(
                f'{place}.num_classes is {num_classes}, but the dataset has {len(classes)} '
                f'classes: {_show(classes)}.\n'
                f'Set {place}.num_classes={len(classes)}, or metainfo=dict(classes=...) of the '
                'dataset, in the config.'
            )


def _find_num_classes(node: object, place: str, in_head: bool = False) -> Iterator[tuple[str, int]]:
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _find_num_classes(child, f'{place}[{index}]', in_head)
    elif isinstance(node, Mapping):
        if in_head and type(node.get('num_classes')) is int:
            yield place, node['num_classes']
        for key, child in node.items():
            yield from _find_num_classes(child, f'{place}.{key}', key in ('bbox_head', 'mask_head'))


def _find_tags(path: str, wanted: Sequence[str]) -> list[str]:
    """Return the tags of an ``.odgt`` file, up to the first that is wanted."""
    tags: dict[str, None] = {}
    for _, record in iter_records(read_bytes(path), path):
        boxes = record.get('gtboxes') if isinstance(record, dict) else None
        for box in boxes if isinstance(boxes, list) else []:
            tags[str(box.get('tag')) if isinstance(box, dict) else '?'] = None
            if set(tags) & set(wanted):
                return list(tags)
    return list(tags)


def _find_voc_classes(path: str, leaf: Mapping, wanted: Sequence[str]) -> list[str] | None:
    """Return the object names in the XML files of a list, up to the first that is wanted."""
    prefix = (leaf.get('data_prefix') or {}).get('sub_data_root', '')
    directory = osp.join(
        _join(leaf.get('data_root'), prefix), leaf.get('ann_subdir', 'Annotations')
    )
    names: dict[str, None] = {}
    for img_id in read_text(path).split():
        try:
            root = ElementTree.parse(osp.join(directory, f'{img_id}.xml'))
        except (OSError, ElementTree.ParseError):
            continue  # the dataset reports it when it is built
        names.update(dict.fromkeys(item.text for item in root.iterfind('object/name')))
        if set(names) & set(wanted):
            break
    return list(names) or None


def _find_coco_classes(path: str) -> list[str] | None:
    """Return the category names of a COCO file, found without parsing all of it."""
    text = read_text(path)
    for match in re.finditer(r'"categories"\s*:\s*(?=\[)', text):
        try:
            categories, _ = json.JSONDecoder().raw_decode(text, match.end())
            return [str(category['name']) for category in categories]
        except (ValueError, TypeError, KeyError):
            continue
    return None


def _show(names: Sequence[str]) -> str:
    more = f', ... ({len(names)} in all)' if len(names) > _SHOWN else ''
    return (', '.join(map(str, names[:_SHOWN])) or 'none') + more


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
    return path if not root or not is_local(path) else osp.join(root, path)
