"""CrowdHuman-style data for mmdet."""

from __future__ import annotations

import gc
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from .base import BaseCrowdDataset
from .checks import check_paths
from .filtering import check_filter_cfg
from .image_sizes import (
    cache_files,
    cached_sizes,
    digest,
    find_images,
    read_image_size,
    read_image_sizes,
    read_size_table,
)
from .odgt import BOXES, OdgtError, read_records
from .text import read_bytes

IMG_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_SPOT_CHECKS = 16


@DATASETS.register_module()
class CrowdDataset(BaseCrowdDataset):
    """CrowdHuman, or anything in its ``.odgt`` format, in place of mmdet's ``CrowdHumanDataset``.

    With the default ``box='body'`` it gives what mmdet's class gives. It differs in this: image
    sizes come from file headers (not from decoding every image) and are remembered for each
    annotation file, whatever its name; a image's ID may contain its extension and a subfolder;
    ``filter_cfg`` works; malformed annotations are refused with line and reason when the file is
    read, and so are images that are not there; with ``test_mode`` so are IDs that occur twice,
    since no metric could tell them apart. An instance without a head or visible box simply lacks
    ``hbox`` or ``vbox``.

    Every instance has ``bbox``, ``bbox_label`` (0, or -1 for ignore regions), ``ignore_flag``, and
    ``fbox``, ``vbox``, ``hbox``, all boxes as x1, y1, x2, y2 in pixels.

    Args:
        data_root: Directory that ``ann_file`` and ``data_prefix`` start from.
        ann_file: The ``.odgt`` file.
        data_prefix: ``img``: the image directory.
        box: Which box becomes ``bbox``: 'body', 'visible' or 'head'. Heads are also ignored where
            ``head_attr.ignore`` says so, as CrowdHuman's own evaluation does.
        img_suffix: Extension added to an ID to find its image.
        extra_ann_file: JSON with ``{ID: [height, width]}``, as for mmdet's class. Without it sizes
            are looked up in our cache, then in mmdet's (``id_hw_train.json``, ``id_hw_val.json``)
            if it agrees with the images, else read.
        cache_dir: Where sizes are remembered; beside the annotation file by default, or in the
            user's cache directory where that cannot be written.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`; not applied with
            ``test_mode``, as in mmdet's datasets.
        kwargs: For mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or images are missing.
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
        if box not in BOXES:
            raise ValueError(f'box must be one of {", ".join(map(repr, BOXES))}, got {box!r}')
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
        """Read annotations and image sizes.

        Returns:
            list[dict]: One dict a line with ``img_id``, ``img_path``, ``height``, ``width`` and
            ``instances``.
        """
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        content = read_bytes(self.ann_file, self.backend_args)
        data_list, flat, inverted = [], [], []
        for number, name, instances in read_records(content, self.ann_file, BOXES[self.box]):
            data_list.append({'img_id': name, 'instances': instances})
            if any(map(_is_flat_person, instances)):
                flat.append(number)
                if any(map(_is_inverted_person, instances)):
                    inverted.append(number)
        names = [data_info['img_id'] for data_info in data_list]
        self._report(names, flat, inverted)
        paths = self._paths(names)
        sizes = self._sizes(names, paths, digest(content))
        for data_info, path in zip(data_list, paths, strict=True):
            data_info['img_path'] = path
            data_info['height'], data_info['width'] = sizes[data_info['img_id']]
        return data_list

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
        directory = self.data_prefix['img']
        if self.backend_args is None:
            return find_images(names, directory, self.img_suffix)
        # What lies elsewhere cannot be listed cheaply: the name alone decides.
        return [
            osp.join(
                directory,
                name if name.lower().endswith(IMG_EXTENSIONS) else name + self.img_suffix,
            )
            for name in names
        ]

    def _sizes(self, names: Sequence[str], paths: Sequence[str], fingerprint: str) -> Mapping:
        if self.extra_ann_file is not None:
            sizes = read_size_table(self.extra_ann_file, self.backend_args)
            missing = [name for name in names if name not in sizes]
            if missing:
                raise KeyError(f'{self.extra_ann_file} lacks the size of {missing[:5]}')
            return sizes
        return cached_sizes(
            names,
            lambda: read_image_sizes(paths, self.backend_args),
            fingerprint,
            cache_files(self.ann_file, self.data_prefix['img'], self.cache_dir),
            known=lambda: self._sizes_of_mmdet(names, paths),
        )

    def _sizes_of_mmdet(self, names: Sequence[str], paths: Sequence[str]) -> Mapping | None:
        """What mmdet's dataset left beside the data, if it fits these images."""
        if self.backend_args is not None:
            return None
        base = osp.basename(self.ann_file)
        split = 'train' if 'train' in base else 'val'
        path = osp.join(self.data_root or osp.dirname(self.ann_file), f'id_hw_{split}.json')
        try:
            sizes = read_size_table(path)
        except (OSError, ValueError):
            return None
        if not all(name in sizes for name in names):
            return None
        some = range(0, len(names), max(1, len(names) // _SPOT_CHECKS))
        if any(sizes[names[i]] != read_image_size(paths[i]) for i in some):
            return None
        return sizes


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
