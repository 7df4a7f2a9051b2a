"""CityPersons: the published MAT files, and the COCO-like JSON that its evaluation reads.

``anno_train.mat`` and ``anno_val.mat`` hold one cell per image with ``cityname``, ``im_name`` and
``bbs``, one row per person: class, x, y, w, h, instance, and x, y, w, h of the visible part.
Classes: 0 ignore region (people on posters, reflections), 1 pedestrian, 2 rider, 3 sitting,
4 unusual posture, 5 group. Source: annotations/README.txt of
https://github.com/cvgroup-njust/CityPersons, arXiv 1702.05693.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from ..coco_json import CocoImage, check_annotation, read_coco, read_images
from ..image_sizes import Size
from ..mat import read_mat
from ..odgt import is_box, is_flagged, make_annotation, xywh_to_xyxy
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError, read_bytes
from .writing import NothingToWrite, make_valid_record

PEDESTRIAN = 1
_CLASSES = range(6)
_COLUMNS = 10
_CITYSCAPES_SIZE = (1024, 2048)
_MAX_RATIO_DIFFERENCE = 0.05


class CityPersonsAnnotation(NamedTuple):
    """An annotation of CityPersons, as dataset, metric, check and converter use it.

    Attributes:
        bbox: Body as x, y, w, h in pixels.
        vis_bbox: Visible part, same form; None if it is not given.
        visible_ratio: Visible fraction of the body, 0 to 1, as in the benchmark: ``vis_ratio``,
            else computed from the boxes; NaN if unknown.
        ignored: Whether it is an ignore region.
    """

    bbox: list[float]
    vis_bbox: list[float] | None
    visible_ratio: float
    ignored: bool

    def to_instance(self) -> dict:
        """Return it in mmdet's form, see :func:`mmdet_lla.datasets.odgt.read_instances`.

        >>> one = CityPersonsAnnotation([10, 5, 20, 50], None, 0.5, True)
        >>> one.to_instance()['fbox'], one.to_instance()['ignore_flag']
        ([10, 5, 30, 55], 1)
        """
        instance = {
            'bbox_label': -1 if self.ignored else 0,
            'ignore_flag': int(self.ignored),
            'fbox': xywh_to_xyxy(self.bbox),
            'visible_ratio': self.visible_ratio,
        }
        # The visible part of an ignore region does not matter.
        if self.vis_bbox is not None or self.ignored:
            instance['vbox'] = xywh_to_xyxy(self.vis_bbox or self.bbox)
        return instance

    def to_odgt(self) -> dict:
        """Return it as an entry of ``gtboxes``."""
        annotation = make_annotation(self.bbox, self.vis_bbox, ignore=self.ignored)
        if self.vis_bbox is None and not math.isnan(self.visible_ratio):
            annotation['extra']['visibility'] = round(self.visible_ratio, 3)
        return annotation


class CityPersonsImage(NamedTuple):
    """An image of CityPersons.

    Attributes:
        id: ID that annotations refer to.
        name: ``city/name``, as under ``leftImg8bit/<split>``.
        size: (height, width) if the file gives it.
        annotations: Its annotations.
        source: The image and its annotations as in the file.
    """

    id: int | str
    name: str
    size: Size | None
    annotations: list[CityPersonsAnnotation]
    source: CocoImage


def is_mat(ann_file: str) -> bool:
    """Return whether an annotation file is a MAT file, by its name.

    >>> is_mat('anno_val.mat'), is_mat('val_gt.json')
    (True, False)
    """
    return ann_file.lower().endswith('.mat')


def open_citypersons(
    ann_file: str,
    backend_args: Mapping | None = None,
    person_classes: Sequence[int] = (PEDESTRIAN,),
    report: ConversionReport | None = None,
) -> dict:
    """Read CityPersons annotations, MAT or JSON, into the form of :func:`mat_to_coco`.

    Raises:
        FileNotFoundError: The file does not exist.
        AnnotationError: It is no CityPersons annotation.
    """
    if not is_mat(ann_file):
        return read_coco(ann_file, backend_args)
    content = read_bytes(ann_file, backend_args)
    return _to_coco(content, ann_file, None, person_classes, report or StrictReport())


def read_annotations(
    coco: Mapping, where: str, report: ConversionReport | None = None
) -> list[CityPersonsImage]:
    """Return the images and valid annotations of the COCO-like form.

    An annotation is an ignore region where ``ignore`` or ``iscrowd`` is set or ``category_id`` is
    not 1. A category other than 1 to 5 must be one of the file's ``categories`` or be marked as
    ignored; otherwise a file that counts classes from 0 would lose every person.

    Args:
        coco: Result of :func:`open_citypersons`.
        where: Name of the file, for messages.
        report: Receives what is invalid; by default the first such thing raises.

    Raises:
        AnnotationError: A strict report raises, or no image can be used.
    """
    report = report or StrictReport()
    declared = _read_categories(coco, where, report)
    result = []
    for image in read_images(coco, where, report, lambda one: _check_fields(one, declared)):
        annotations = []
        for one, place in zip(image.annotations, image.places, strict=True):
            given, computed = one.get('vis_ratio'), _compute_ratio(one)
            ignored = is_ignored(one)
            ratio = min(float(computed if given is None else given), 1.0)
            annotations.append(
                CityPersonsAnnotation(one['bbox'], one.get('vis_bbox'), ratio, ignored)
            )
            if given is not None and abs(given - computed) > _MAX_RATIO_DIFFERENCE and not ignored:
                report.warn(
                    place,
                    f"'vis_ratio' is {given:g}, but 'vis_bbox' and 'bbox' give {computed:.3g}",
                    kind='two visible ratios',
                    number=image.number,
                    image=image.name,
                )
        name = image_name({'file_name': image.name})
        result.append(CityPersonsImage(image.id, name, image.size, annotations, image))
    return result


def mat_to_coco(
    mat: str | BinaryIO,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    person_classes: Sequence[int] = (PEDESTRIAN,),
    report: ConversionReport | None = None,
) -> dict:
    """Read a published MAT file into the COCO-like form of the public evaluation (``val_gt.json``).

    All annotations have ``category_id`` 1; those of other classes than ``person_classes`` have
    ``ignore`` 1, since the benchmark neither counts them nor penalizes detecting them. Image ids
    count from 1 in the order of the file, as the evaluation expects.

    Args:
        mat: ``anno_train.mat`` or ``anno_val.mat``, path or open file.
        sizes: (height, width) by image name; if None every image is 1024 x 2048, Cityscapes' size.
        person_classes: Classes that count as people.
        report: Receives invalid rows; by default the first such row raises.

    Returns:
        dict: ``images`` (id, file_name, height, width), ``annotations`` (id, image_id,
        category_id, bbox, height, vis_ratio, vis_bbox, ignore, iscrowd, class_label; boxes as x,
        y, w, h in pixels), ``categories``. ``file_name`` is ``city/name``, as under
        ``leftImg8bit/<split>``.

    Raises:
        AnnotationError: The file is no CityPersons annotation.
    """
    if isinstance(mat, str):
        content, where = read_bytes(mat), mat
    else:
        content, where = mat.read(), getattr(mat, 'name', 'MAT file')
    return _to_coco(content, where, sizes, person_classes, report or StrictReport())


def citypersons_records(
    coco: Mapping, report: ConversionReport | None = None, where: str = 'CityPersons annotations'
) -> Iterator[dict]:
    """Yield the records of the result of :func:`open_citypersons`.

    Args:
        coco: The annotations.
        report: Receives what is invalid; by default the first such thing raises.
        where: Name of the file, for messages.
    """
    report = report or StrictReport()
    for image, record in iter_citypersons(coco, report, where):
        yield make_valid_record(record['ID'], record['gtboxes'], image.places, image.size, report)


def remove_invalid(coco: Mapping, report: ConversionReport, where: str) -> dict:
    """Return the COCO-like form without annotations in which ``check`` would find faults.

    Args:
        coco: Result of :func:`open_citypersons`.
        report: Receives those annotations, and counts the others as written.
        where: Name of the file, for messages.

    Raises:
        NothingToWrite: No annotation is valid.
    """
    images, kept = [], []
    for image, record in iter_citypersons(coco, report, where):
        images.append(coco['images'][image.number - 1])
        for one, entry, place in zip(
            image.annotations, record['gtboxes'], image.places, strict=True
        ):
            if make_valid_record(record['ID'], [entry], [place], image.size, report)['gtboxes']:
                kept.append(one)
    report.written += len(kept)
    if not kept and report.num_rejected:
        raise NothingToWrite('every annotation was rejected')
    return {**coco, 'images': images, 'annotations': kept}


def iter_citypersons(
    coco: Mapping, report: ConversionReport, where: str
) -> Iterator[tuple[CocoImage, dict]]:
    """Yield images and records without checking boxes; see :func:`citypersons_records`."""
    for image in read_annotations(coco, where, report):
        yield image.source, {'ID': image.name, 'gtboxes': [a.to_odgt() for a in image.annotations]}


def is_ignored(annotation: Mapping) -> bool:
    """Return whether an annotation of the COCO-like form is an ignore region.

    >>> is_ignored({'category_id': 2}), is_ignored({'category_id': 1, 'ignore': 0})
    (True, False)

    Raises:
        ValueError: A flag is no number.
    """
    return (
        is_flagged(annotation, 'ignore')
        or is_flagged(annotation, 'iscrowd')
        or annotation.get('category_id', PEDESTRIAN) != PEDESTRIAN
    )


def image_name(image: Mapping) -> str:
    """Return ``city/name`` of an entry of ``images``; the public JSON has the bare ``im_name``.

    >>> image_name({'im_name': 'aachen_000000_000019_leftImg8bit.png'})
    'aachen/aachen_000000_000019_leftImg8bit.png'
    """
    name = image['file_name'] if 'file_name' in image else image['im_name']
    return name if '/' in name else f'{name.split("_")[0]}/{name}'


def _to_coco(
    content: bytes,
    where: str,
    sizes: Mapping[str, tuple[int, int]] | None,
    person_classes: Sequence[int],
    report: ConversionReport,
) -> dict:
    images, annotations = [], []
    for place, name, rows in _iter_cells(content, where):
        height, width = _CITYSCAPES_SIZE if sizes is None else sizes[name]
        images.append({'id': len(images) + 1, 'file_name': name, 'height': height, 'width': width})
        for number, row in enumerate(rows, 1):
            fault = _find_row_fault(row)
            if fault:
                report.read += 1
                details = dict(number=len(images), image=name)
                report.reject(f'{place}, row {number} of bbs', fault, **details)
                continue
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


def _find_row_fault(row: Sequence[float]) -> str | None:
    """Return what is wrong with a row of ``bbs``."""
    if row[0] not in _CLASSES:
        return f'class must be 0 to 5, got {row[0]:g}'
    for name, box in (('box', row[1:5]), ('visible box', row[6:])):
        if not is_box(list(box)):
            return f'{name} must be four finite numbers x, y, w, h, got {list(box)}'
    return None


def _iter_cells(content: bytes, where: str) -> Iterator[tuple[str, str, list[list[float]]]]:
    """Yield the position in the file, ``city/name`` and the rows of ``bbs`` of every image."""
    variables = read_mat(content, where)
    keys = [key for key in variables if not key.startswith('__')]
    if len(keys) != 1:
        raise AnnotationError(
            f'{where}: one variable was expected in a CityPersons MAT file, found {keys}'
        )
    for index, cell in enumerate(np.atleast_1d(variables[keys[0]]), 1):
        place = f'{where}, {keys[0]}, cell {index}'
        fields = getattr(cell, '_fieldnames', [])
        if not {'im_name', 'bbs'} <= set(fields):
            raise AnnotationError(
                f'{place}: fields cityname, im_name and bbs were expected, found {list(fields)}'
            )
        place = f'{place} ({cell.im_name})'
        try:
            rows = np.asarray(cell.bbs, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise AnnotationError(f'{place}: bbs must hold numbers: {error}') from error
        if rows.size % _COLUMNS or rows.shape[-1:] not in ((_COLUMNS,), (0,)):
            raise AnnotationError(
                f'{place}: bbs must have {_COLUMNS} columns, got shape {rows.shape}'
            )
        name = image_name({'file_name': str(cell.im_name)})
        yield place, name, rows.reshape(-1, _COLUMNS).tolist()


def _read_categories(coco: Mapping, where: str, report: ConversionReport) -> set[int]:
    """Return the IDs of the file's categories; reject pedestrians of another ID than 1."""
    declared = set()
    for index, category in enumerate(coco.get('categories', [])):
        place = f'{where}, categories[{index}]'
        if not isinstance(category, dict) or type(category.get('id')) is not int:
            report.reject(place, f"a number 'id' was expected, got {category!r:.50}", records=0)
            continue
        declared.add(category['id'])
        if category.get('name') in ('pedestrian', 'person') and category['id'] != PEDESTRIAN:
            report.reject(
                place,
                f'{category["name"]!r} has id {category["id"]}, expected {PEDESTRIAN}; every '
                'other category is ignored',
                kind='wrong category',
                records=0,
            )
    return declared


def _check_fields(annotation: Mapping, declared: set[int]) -> None:
    """Raise ValueError if an annotation cannot be used."""
    check_annotation(annotation)
    category = annotation.get('category_id', PEDESTRIAN)
    if type(category) is not int:
        raise ValueError(f"'category_id' must be a number, got {category!r:.50}")
    known = category in declared if declared else 0 < category < len(_CLASSES)
    marked = is_flagged(annotation, 'ignore') or is_flagged(annotation, 'iscrowd')
    if category != PEDESTRIAN and not known and not marked:
        raise ValueError(
            f"'category_id' is {category}, expected {PEDESTRIAN} (pedestrian), or 'ignore': 1 "
            'where it is no person'
        )
    ratio = annotation.get('vis_ratio')
    if ratio is not None and (
        isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < math.inf
    ):
        raise ValueError(f"'vis_ratio' must be a number from 0 to 1, got {ratio!r:.50}")
    visible = annotation.get('vis_bbox')
    if visible is not None and not is_box(visible):
        raise ValueError(f"'vis_bbox' must be four finite numbers x, y, w, h, got {visible!r:.50}")
    if ratio is None and visible is None and not is_ignored(annotation):
        raise ValueError(f'annotation {annotation.get("id")!r} has neither vis_ratio nor vis_bbox')


def _compute_ratio(annotation: Mapping) -> float:
    """Return the visible fraction that the boxes give; NaN if a box is missing or empty."""
    visible, (_, _, w, h) = annotation.get('vis_bbox'), annotation['bbox']
    return visible[2] * visible[3] / (w * h) if visible and w * h > 0 else math.nan
