"""CityPersons for mmdet."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence

from mmdet.registry import DATASETS

from .base import BaseCrowdDataset
from .checks import check_paths
from .converters.citypersons import (
    PEDESTRIAN,
    CityPersonsImage,
    is_mat,
    open_citypersons,
    read_annotations,
)
from .filtering import check_filter_cfg
from .image_sizes import cache_files, cached_sizes, digest, find_images, read_image_sizes
from .text import AnnotationError, read_bytes

_BOXES = {'body': 'fbox', 'visible': 'vbox'}


@DATASETS.register_module()
class CityPersonsDataset(BaseCrowdDataset):
    """CityPersons: people in Cityscapes images, in the published MAT or COCO-like JSON form.

    Pedestrians are people; ignore regions, riders, sitting and oddly posed persons and groups are
    ignore regions, as in the benchmark. Instances look like those of
    :class:`~mmdet_lla.datasets.CrowdDataset`, without ``hbox``. ``img_id`` is the image's id in
    the JSON, or its place in the MAT file counted from 1, as the public evaluation numbers them.

    Args:
        data_root: Directory that ``ann_file`` and ``data_prefix`` start from.
        ann_file: ``anno_train.mat``, ``anno_val.mat``, or JSON such as ``val_gt.json``.
        data_prefix: ``img``: directory with a subfolder a city, ``leftImg8bit/train``.
        box: Which box becomes ``bbox``: 'body' or 'visible'.
        person_classes: Classes that count as people, for MAT files, which alone tell them apart;
            (1, 2) also takes riders.
        cache_dir: Where image sizes, which MAT files lack, are remembered; as for
            :class:`~mmdet_lla.datasets.CrowdDataset`.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`; not applied with
            ``test_mode``.
        kwargs: For mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or images are missing.
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
        if not is_mat(ann_file) and tuple(person_classes) != (PEDESTRIAN,):
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
        """Read annotations, and image sizes if the annotations lack them."""
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        coco = open_citypersons(self.ann_file, self.backend_args, self.person_classes)
        images = read_annotations(coco, self.ann_file)
        names = [image.name for image in images]
        paths = self._paths(names)
        sizes = [image.image.size for image in images]
        # A MAT file has none; what it is given for the evaluation is not what is on the disk.
        if is_mat(self.ann_file) or None in sizes:
            by_name = cached_sizes(
                names,
                lambda: read_image_sizes(paths, self.backend_args),
                digest(read_bytes(self.ann_file, self.backend_args)),
                cache_files(self.ann_file, self.data_prefix['img'], self.cache_dir),
            )
            sizes = [by_name[name] for name in names]
        return [
            {
                'img_id': one.image.id,
                'img_path': path,
                'height': height,
                'width': width,
                'instances': self._instances(one),
            }
            for one, path, (height, width) in zip(images, paths, sizes, strict=True)
        ]

    def _instances(self, one: CityPersonsImage) -> list[dict]:
        instances, key = [], _BOXES[self.box]
        for index, person in enumerate(one.people):
            instance = person.instance()
            if key not in instance:
                raise AnnotationError(
                    f'{self.ann_file}, image {one.image.id!r}: annotation {index + 1} of it has '
                    f"no 'vis_bbox', which box={self.box!r} needs"
                )
            instances.append({'bbox': instance[key], **instance})
        return instances

    def _paths(self, names: Sequence[str]) -> list[str]:
        directory = self.data_prefix['img']
        if self.backend_args is None:
            return find_images(names, directory, '.png')
        return [osp.join(directory, name) for name in names]
