"""CrowdHuman-style data for mmdet."""

from __future__ import annotations

import gc
import json
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get
from mmengine.logging import MMLogger

from .checks import check_paths
from .filtering import check_filter_cfg, filter_pictures
from .image_sizes import cache_files, cached_sizes, digest, find_pictures, picture_size, read_sizes
from .odgt import (
    BOX_KEYS,
    OdgtError,
    is_head_ignored,
    is_ignored,
    iter_lines,
    parse_line,
    record_fault,
)

_BOXES = {'body': 'fbox', 'visible': 'vbox', 'head': 'hbox'}
_PICTURE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_SPOT_CHECKS = 16


@DATASETS.register_module()
class CrowdDataset(BaseDetDataset):
    """CrowdHuman, or anything in its ``.odgt`` format, in place of mmdet's ``CrowdHumanDataset``.

    With the default ``box='body'`` it gives what mmdet's class gives. It differs in this: picture
    sizes come from file headers (not from decoding every picture) and are remembered for each
    annotation file, whatever its name; a picture's ID may contain its extension and a subfolder;
    ``filter_cfg`` works; malformed annotations are refused with line and reason when the file is
    read, and so are pictures that are not there; with ``test_mode`` so are IDs that occur twice,
    since no metric could tell them apart. An instance without a head or visible box simply lacks
    ``hbox`` or ``vbox``.

    Every instance has ``bbox``, ``bbox_label`` (0, or -1 for ignore regions), ``ignore_flag``, and
    ``fbox``, ``vbox``, ``hbox``, all boxes as x1, y1, x2, y2 in pixels.

    Args:
        data_root: Folder that ``ann_file`` and ``data_prefix`` start from.
        ann_file: The ``.odgt`` file.
        data_prefix: ``img``: the picture folder.
        box: Which box becomes ``bbox``: 'body', 'visible' or 'head'. Heads are also ignored where
            ``head_attr.ignore`` says so, as CrowdHuman's own evaluation does.
        img_suffix: Extension added to an ID to find its picture.
        extra_ann_file: JSON with ``{ID: [height, width]}``, as for mmdet's class. Without it sizes
            are looked up in our cache, then in mmdet's (``id_hw_train.json``, ``id_hw_val.json``)
            if it agrees with the pictures, else read.
        cache_dir: Where sizes are remembered; beside the annotation file by default, or in the
            user's cache folder where that cannot be written.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_pictures`; not applied with
            ``test_mode``, as in mmdet's datasets.
        kwargs: For mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or pictures are missing.
        OdgtError: A line is malformed (file, line number, reason).
        KeyError: An unknown filter.
    """

    METAINFO = {'classes': ('person',), 'palette': [(220, 20, 60)]}

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        data_prefix: Mapping[str, str] | None = None,
        box: str = 'body',
        img_suffix: str = '.jpg',
        extra_ann_file: str | None = None,
        cache_dir: str | None = None,
        filter_cfg: Mapping | None = None,
        **kwargs,
    ) -> None:
        if box not in _BOXES:
            raise ValueError(f'box must be one of {", ".join(map(repr, _BOXES))}, got {box!r}')
        check_filter_cfg(filter_cfg)
        self.box = box
        self.img_suffix = img_suffix
        self.extra_ann_file = extra_ann_file
        self.cache_dir = cache_dir
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix=dict(img='Images') if data_prefix is None else dict(data_prefix),
            filter_cfg=None if filter_cfg is None else dict(filter_cfg),
            **kwargs,
        )

    def full_init(self) -> None:
        """Load, filter and serialize, once; see mmdet's ``BaseDetDataset``."""
        with _no_garbage_collection():
            super().full_init()

    def load_data_list(self) -> list[dict]:
        """Read annotations and picture sizes.

        Returns:
            list[dict]: One dict a line with ``img_id``, ``img_path``, ``height``, ``width`` and
            ``instances``.
        """
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        content = get(self.ann_file, backend_args=self.backend_args)
        try:
            text = content.decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise OdgtError(f'{self.ann_file} is no text: {error}') from error
        data_list, flat, inverted = [], [], []
        for number, line in iter_lines(text):
            try:
                data_info = self.parse_data_info(parse_line(line))
            except OdgtError as error:
                raise OdgtError(f'{self.ann_file}, line {number}: {error}') from error
            data_list.append(data_info)
            if any(map(_is_flat_person, data_info['instances'])):
                flat.append(number)
                if any(map(_is_inverted_person, data_info['instances'])):
                    inverted.append(number)
        if not data_list:
            raise OdgtError(f'{self.ann_file} has no annotations in it')
        names = [data_info['img_id'] for data_info in data_list]
        self._report(names, flat, inverted)
        paths = self._paths(names)
        sizes = self._sizes(names, paths, digest(content))
        for data_info, path in zip(data_list, paths, strict=True):
            data_info['img_path'] = path
            data_info['height'], data_info['width'] = sizes[data_info['img_id']]
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Turn one line into mmdet's form; path and size come later.

        Raises:
            OdgtError: The line lacks a field or holds a wrong value.
        """
        key = _BOXES[self.box]
        try:
            name, annotations = raw_data_info['ID'], raw_data_info['gtboxes']
            if type(name) is not str or not name or type(annotations) is not list:
                raise TypeError('ID or gtboxes')
            instances = [_instance(a, key, self.box == 'head') for a in annotations]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # Looking for the fault in words is slow, so it is done only where there is one.
            fault = record_fault(raw_data_info, required=('fbox', key))
            raise OdgtError(fault or repr(error)) from error
        return {'img_id': name, 'instances': instances}

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` unless ``test_mode``."""
        return (
            self.data_list if self.test_mode else filter_pictures(self.data_list, self.filter_cfg)
        )

    def _report(self, names: Sequence[str], flat: Sequence[int], inverted: Sequence[int]) -> None:
        logger = MMLogger.get_current_instance()
        advice = f'python tools/check_dataset.py {self.ann_file} tells more'
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            message = f'{self.ann_file}: {len(repeated)} IDs occur more than once: {repeated[:5]}'
            if self.test_mode:
                raise OdgtError(f'{message}; no evaluation could tell them apart')
            logger.warning('%s; %s', message, advice)
        if flat:
            logger.warning(
                '%s: %d lines have %s boxes of no area, the first is line %d; %s',
                self.ann_file,
                len(flat),
                self.box,
                flat[0],
                advice,
            )
        filtered = not self.test_mode and (self.filter_cfg or {}).get('min_box_size')
        if inverted and not filtered:
            logger.warning(
                '%s: %d of them have boxes of negative size, the first is line %d; LLAHead stops a '
                'training there. Correct them, or make ignore regions of them: '
                'filter_cfg=dict(min_box_size=1)',
                self.ann_file,
                len(inverted),
                inverted[0],
            )

    def _paths(self, names: Sequence[str]) -> list[str]:
        folder = self.data_prefix['img']
        if self.backend_args is None:
            return find_pictures(names, folder, self.img_suffix)
        # What lies elsewhere cannot be listed cheaply: the name alone decides.
        return [
            osp.join(
                folder,
                name if name.lower().endswith(_PICTURE_EXTENSIONS) else name + self.img_suffix,
            )
            for name in names
        ]

    def _sizes(self, names: Sequence[str], paths: Sequence[str], fingerprint: str) -> Mapping:
        if self.extra_ann_file is not None:
            sizes = json.loads(get(self.extra_ann_file, backend_args=self.backend_args))
            lacking = [name for name in names if name not in sizes]
            if lacking:
                raise KeyError(f'{self.extra_ann_file} lacks the size of {lacking[:5]}')
            return sizes
        return cached_sizes(
            names,
            lambda: read_sizes(paths, self.backend_args),
            fingerprint,
            cache_files(self.ann_file, self.data_prefix['img'], self.cache_dir),
            known=lambda: self._sizes_of_mmdet(names, paths),
        )

    def _sizes_of_mmdet(self, names: Sequence[str], paths: Sequence[str]) -> Mapping | None:
        """What mmdet's dataset left beside the data, if it fits these pictures."""
        if self.backend_args is not None:
            return None
        base = osp.basename(self.ann_file)
        split = 'train' if 'train' in base else 'val'
        path = osp.join(self.data_root or osp.dirname(self.ann_file), f'id_hw_{split}.json')
        try:
            with open(path, encoding='utf-8') as file:
                sizes = json.load(file)
        except (OSError, ValueError):
            return None
        if not isinstance(sizes, dict) or not all(name in sizes for name in names):
            return None
        some = range(0, len(names), max(1, len(names) // _SPOT_CHECKS))
        if any(tuple(sizes[names[i]]) != picture_size(paths[i]) for i in some):
            return None
        return sizes


def _instance(annotation: dict, key: str, head: bool) -> dict:
    """One annotation in mmdet's form; anything malformed raises one of Python's own errors."""
    if type(annotation['tag']) is not str:
        raise TypeError('tag')
    ignored = is_head_ignored(annotation) if head else is_ignored(annotation)
    instance = {'bbox_label': -1 if ignored else 0, 'ignore_flag': int(ignored)}
    for name in BOX_KEYS:
        if name in annotation:
            x, y, w, h = annotation[name]
            if not abs(x + y + w + h) < 4e9:  # nan and infinity fail too; text has no abs()
                raise ValueError('not finite')
            instance[name] = [x, y, x + w, y + h]
    annotation['fbox']  # needed whatever the choice
    instance['bbox'] = instance[key]
    return instance


def _is_flat_person(instance: dict) -> bool:
    x1, y1, x2, y2 = instance['bbox']
    return (x2 <= x1 or y2 <= y1) and not instance['ignore_flag']


def _is_inverted_person(instance: dict) -> bool:
    x1, y1, x2, y2 = instance['bbox']
    return (x2 < x1 or y2 < y1) and not instance['ignore_flag']


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Nothing made while loading is garbage, but looking for some doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
