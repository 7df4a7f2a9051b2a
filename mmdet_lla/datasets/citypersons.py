"""CityPersons for mmdet."""

from __future__ import annotations

import io
import json
import os.path as osp
from collections.abc import Mapping, Sequence

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get

from .checks import check_paths
from .converters.citypersons import PEDESTRIAN, is_ignored, mat_to_coco, picture_name
from .filtering import check_filter_cfg, filter_pictures
from .image_sizes import cache_files, cached_sizes, digest, find_pictures, read_sizes

_BOXES = {'body': 'fbox', 'visible': 'vbox'}


@DATASETS.register_module()
class CityPersonsDataset(BaseDetDataset):
    """CityPersons: people in Cityscapes pictures, in the published MAT or COCO-like JSON form.

    Pedestrians are people; ignore regions, riders, sitting and oddly posed persons and groups are
    ignore regions, as in the benchmark. Instances look like those of
    :class:`~mmdet_lla.datasets.CrowdDataset`, without ``hbox``. ``img_id`` is the picture's id in
    the JSON, or its place in the MAT file counted from 1, as the public evaluation numbers them.

    Args:
        data_root: Folder that ``ann_file`` and ``data_prefix`` start from.
        ann_file: ``anno_train.mat``, ``anno_val.mat``, or JSON such as ``val_gt.json``.
        data_prefix: ``img``: folder with a subfolder a city, ``leftImg8bit/train``.
        box: Which box becomes ``bbox``: 'body' or 'visible'.
        person_classes: Classes that count as people, for MAT files, which alone tell them apart;
            (1, 2) also takes riders.
        cache_dir: Where picture sizes, which MAT files lack, are remembered; as for
            :class:`~mmdet_lla.datasets.CrowdDataset`.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_pictures`; not applied with
            ``test_mode``.
        kwargs: For mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or pictures are missing.
        ValueError: The annotations cannot be used; says what is wrong with which.
    """

    METAINFO = {'classes': ('pedestrian',), 'palette': [(220, 20, 60)]}

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        data_prefix: Mapping[str, str] | None = None,
        box: str = 'body',
        person_classes: Sequence[int] = (PEDESTRIAN,),
        cache_dir: str | None = None,
        filter_cfg: Mapping | None = None,
        **kwargs,
    ) -> None:
        if box not in _BOXES:
            raise ValueError(f'box must be one of {", ".join(map(repr, _BOXES))}, got {box!r}')
        if not ann_file.endswith('.mat') and tuple(person_classes) != (PEDESTRIAN,):
            raise ValueError(f'person_classes {person_classes} needs a MAT file, got {ann_file}')
        check_filter_cfg(filter_cfg)
        self.box = box
        self.person_classes = tuple(person_classes)
        self.cache_dir = cache_dir
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix=dict(img='leftImg8bit/train') if data_prefix is None else dict(data_prefix),
            filter_cfg=None if filter_cfg is None else dict(filter_cfg),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read annotations, and picture sizes if the annotations lack them."""
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        content = get(self.ann_file, backend_args=self.backend_args)
        if self.ann_file.endswith('.mat'):
            coco = mat_to_coco(io.BytesIO(content), person_classes=self.person_classes)
        else:
            try:
                coco = json.loads(content)
            except ValueError as error:
                raise ValueError(f'{self.ann_file} is not JSON: {error}') from error
        data_list = self._instances(coco)
        names = [picture_name(image) for image in coco['images']]
        paths = self._paths(names)
        if self.ann_file.endswith('.mat'):
            sizes = cached_sizes(
                names,
                lambda: read_sizes(paths, self.backend_args),
                digest(content),
                cache_files(self.ann_file, self.data_prefix['img'], self.cache_dir),
            )
        else:
            sizes = {
                n: (i['height'], i['width']) for n, i in zip(names, coco['images'], strict=True)
            }
        for data_info, name, path in zip(data_list, names, paths, strict=True):
            data_info['img_path'] = path
            data_info['height'], data_info['width'] = sizes[name]
        return data_list

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` unless ``test_mode``."""
        if self.test_mode:
            return self.data_list
        return filter_pictures(self.data_list, self.filter_cfg)

    def _instances(self, coco: Mapping) -> list[dict]:
        """One dict a picture with ``img_id`` and ``instances``."""
        for key in ('images', 'annotations'):
            if not isinstance(coco, dict) or not coco.get(key):
                raise ValueError(f'{self.ann_file}: {key!r} is missing or empty')
        by_image: dict[int, list[dict]] = {image['id']: [] for image in coco['images']}
        for index, annotation in enumerate(coco['annotations']):
            try:
                target = by_image[annotation['image_id']]
                body = _corners(annotation['bbox'])
                visible = _corners(annotation['vis_bbox']) if 'vis_bbox' in annotation else body
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{self.ann_file}, annotations[{index}] cannot be used ({error!r}): '
                    f'{annotation}'
                ) from error
            ignored = is_ignored(annotation)
            target.append(
                {
                    'bbox': visible if self.box == 'visible' else body,
                    'bbox_label': -1 if ignored else 0,
                    'ignore_flag': int(ignored),
                    'fbox': body,
                    'vbox': visible,
                }
            )
        return [{'img_id': key, 'instances': value} for key, value in by_image.items()]

    def _paths(self, names: Sequence[str]) -> list[str]:
        folder = self.data_prefix['img']
        if self.backend_args is None:
            return find_pictures(names, folder, '.png')
        return [osp.join(folder, name) for name in names]


def _corners(box: Sequence[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y + h]
