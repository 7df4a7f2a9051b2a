"""CityPersons: the published MAT files, and the COCO-like JSON its evaluation reads.

``anno_train.mat`` and ``anno_val.mat`` hold one cell a picture with ``cityname``, ``im_name`` and
``bbs``, a row a person: class, x, y, w, h, instance, and x, y, w, h of the visible part. Classes: 0
ignore region (people on posters, reflections), 1 pedestrian, 2 rider, 3 sitting, 4 unusual
posture, 5 group. Source: annotations/README.txt of https://github.com/cvgroup-njust/CityPersons,
arXiv 1702.05693.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from scipy.io import loadmat

from ..odgt import make_annotation

PEDESTRIAN = 1
_COLUMNS = 10
_CITYSCAPES_SIZE = (1024, 2048)


def mat_to_coco(
    mat: str | BinaryIO,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    person_classes: Sequence[int] = (PEDESTRIAN,),
) -> dict:
    """Read a published MAT file into the COCO-like form of the public evaluation (``val_gt.json``).

    All annotations have ``category_id`` 1; those of other classes than ``person_classes`` have
    ``ignore`` 1, since the benchmark neither counts them nor punishes finding them. Picture ids
    count from 1 in the order of the file, as the evaluation expects.

    Args:
        mat: ``anno_train.mat`` or ``anno_val.mat``, path or open file.
        sizes: (height, width) by picture name; every picture is 1024 x 2048, Cityscapes' size,
            if None.
        person_classes: Classes that count as people.

    Returns:
        dict: ``images`` (id, file_name, height, width), ``annotations`` (id, image_id,
        category_id, bbox, height, vis_ratio, vis_bbox, ignore, iscrowd, class_label; boxes as x,
        y, w, h in pixels), ``categories``. ``file_name`` is ``city/name``, as under
        ``leftImg8bit/<split>``.

    Raises:
        ValueError: The file is no CityPersons annotation.
    """
    images, annotations = [], []
    for name, rows in _read_mat(mat):
        height, width = _CITYSCAPES_SIZE if sizes is None else sizes[name]
        images.append({'id': len(images) + 1, 'file_name': name, 'height': height, 'width': width})
        for row in rows:
            class_label, x, y, w, h = row[:5]
            visible = row[6:]
            area = w * h
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': len(images),
                    'category_id': 1,
                    'class_label': int(class_label),
                    'bbox': [x, y, w, h],
                    'vis_bbox': visible,
                    'height': h,
                    'vis_ratio': visible[2] * visible[3] / area if area > 0 else 1.0,
                    'ignore': int(class_label not in person_classes),
                    'iscrowd': 0,
                }
            )
    return {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'pedestrian'}],
    }


def citypersons_records(coco: Mapping) -> Iterator[dict]:
    """Records of a COCO-like dict as :func:`mat_to_coco` or ``val_gt.json`` give it."""
    by_image: dict[int, list[dict]] = {image['id']: [] for image in coco['images']}
    for annotation in coco['annotations']:
        by_image[annotation['image_id']].append(
            make_annotation(
                annotation['bbox'], annotation.get('vis_bbox'), ignore=is_ignored(annotation)
            )
        )
    for image in coco['images']:
        yield {'ID': picture_name(image), 'gtboxes': by_image[image['id']]}


def is_ignored(annotation: Mapping) -> bool:
    """Whether an annotation of the COCO-like form is a region to be ignored."""
    return bool(
        annotation.get('ignore', 0)
        or annotation.get('iscrowd', 0)
        or annotation.get('category_id', 1) != 1
    )


def picture_name(image: Mapping) -> str:
    """``city/name`` of an entry of ``images``; the public JSON gives the bare name, ``im_name``."""
    name = image['file_name'] if 'file_name' in image else image['im_name']
    return name if '/' in name else f'{name.split("_")[0]}/{name}'


def _read_mat(mat: str | BinaryIO) -> Iterator[tuple[str, list[list[float]]]]:
    """Yield ``city/name`` and the rows of ``bbs``, as plain numbers, of every picture."""
    content = loadmat(mat, squeeze_me=True, struct_as_record=False)
    keys = [key for key in content if not key.startswith('__')]
    if len(keys) != 1:
        raise ValueError(f'one variable was expected in a CityPersons MAT file, found {keys}')
    for index, cell in enumerate(np.atleast_1d(content[keys[0]])):
        fields = getattr(cell, '_fieldnames', [])
        if not {'im_name', 'bbs'} <= set(fields):
            raise ValueError(
                f'{keys[0]}, cell {index + 1}: fields cityname, im_name and bbs were expected, '
                f'found {list(fields)}'
            )
        rows = np.asarray(cell.bbs, dtype=np.float64)
        if rows.size % _COLUMNS:
            raise ValueError(
                f'{keys[0]}, cell {index + 1} ({cell.im_name}): bbs must have {_COLUMNS} columns, '
                f'got shape {rows.shape}'
            )
        # The folder is the first word of the name, so cityname is not needed.
        name = picture_name({'file_name': str(cell.im_name)})
        yield name, rows.reshape(-1, _COLUMNS).tolist()
