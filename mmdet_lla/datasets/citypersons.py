"""CityPersons for mmdet."""

from __future__ import annotations

from collections.abc import Sequence

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
from .text import AnnotationError


@DATASETS.register_module()
class CityPersonsDataset(BaseCrowdDataset):
    """CityPersons: people in Cityscapes images, in the published MAT or COCO-like JSON form.

    Pedestrians are people; ignore regions, riders, sitting persons, unusual postures and groups are
    ignore regions, as in the benchmark. Instances have the keys of
    :class:`~mmdet_lla.datasets.CrowdDataset`, without ``hbox``. ``img_id`` is the image's id in the
    JSON file, or its position in the MAT file from 1, as in the public evaluation.

    Args:
        data_root: Directory that ``ann_file`` and ``data_prefix`` start from.
        ann_file: ``anno_train.mat``, ``anno_val.mat``, or JSON such as ``val_gt.json``.
        data_prefix: ``img``: directory with one subdirectory per city, ``leftImg8bit/train``.
        box: Which box becomes ``bbox``: 'body' or 'visible'.
        person_classes: Classes that count as people; only for MAT files, which alone distinguish
            them. (1, 2) also takes riders.
        cache_dir: Where image sizes, which MAT files lack, are cached; as for
            :class:`~mmdet_lla.datasets.CrowdDataset`.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`; not applied with
            ``test_mode``.
        kwargs: Of mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or images are missing.
        ValueError: The annotations cannot be used; names record and reason.
    """

    METAINFO = {'classes': ('pedestrian',), 'palette': [(220, 20, 60)]}
    boxes = {'body': 'fbox', 'visible': 'vbox'}
    img_prefix = 'leftImg8bit/train'

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        *args,
        person_classes: Sequence[int] = (PEDESTRIAN,),
        **kwargs,
    ) -> None:
        if not is_mat(ann_file) and tuple(person_classes) != (PEDESTRIAN,):
            raise ValueError(f'person_classes {person_classes} needs a MAT file, got {ann_file}')
        self.person_classes = tuple(person_classes)
        super().__init__(data_root, ann_file, *args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read annotations, and image sizes if the annotations lack them."""
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        coco = open_citypersons(self.ann_file, self.backend_args, self.person_classes)
        images = read_annotations(coco, self.ann_file)
        names = [image.name for image in images]
        paths = self._find_images(names, '.png')
        sizes = [image.size for image in images]
        # The sizes of a MAT file are nominal, for the evaluation.
        if is_mat(self.ann_file) or None in sizes:
            by_name = self._read_sizes(names, paths)
            sizes = [by_name[name] for name in names]
        return [
            {
                'img_id': image.id,
                'img_path': path,
                'height': height,
                'width': width,
                'instances': self._get_instances(image),
            }
            for image, path, (height, width) in zip(images, paths, sizes, strict=True)
        ]

    def _get_instances(self, image: CityPersonsImage) -> list[dict]:
        instances, key = [], self.boxes[self.box]
        for index, annotation in enumerate(image.annotations):
            instance = annotation.to_instance()
            if key not in instance:
                raise AnnotationError(
                    f'{self.ann_file}, image {image.id!r}: annotation {index + 1} of it has '
                    f"no 'vis_bbox', which box={self.box!r} needs"
                )
            instances.append({'bbox': instance[key], **instance})
        return instances
