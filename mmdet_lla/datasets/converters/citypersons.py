"""CityPersons: the published MAT files, and the COCO-like JSON its evaluation reads.

``anno_train.mat`` and ``anno_val.mat`` hold one cell a image with ``cityname``, ``im_name`` and
``bbs``, a row a person: class, x, y, w, h, instance, and x, y, w, h of the visible part. Classes: 0
ignore region (people on posters, reflections), 1 pedestrian, 2 rider, 3 sitting, 4 unusual
posture, 5 group. Source: annotations/README.txt of https://github.com/cvgroup-njust/CityPersons,
arXiv 1702.05693.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from ..coco_json import CocoImage, check_annotation, read_coco, read_images
from ..mat import read_mat
from ..odgt import is_box, is_flagged, make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError, read_bytes
from .writing import NothingToWrite, make_valid_record

PEDESTRIAN = 1
_CLASSES = range(6)
_COLUMNS = 10
_CITYSCAPES_SIZE = (1024, 2048)
_SHARES_DIFFER = 0.05


class CityPersonsAnnotation(NamedTuple):
    """An annotation of CityPersons, one meaning for dataset, metric, check and converter.

    Attributes:
        box: Body as x, y, w, h in pixels.
        visible: What is seen of it, same form; None if it is not given.
        share: Share of the body that is seen, 0 to 1, as the benchmark takes it: ``vis_ratio``,
            else from the boxes; NaN where it is unknown.
        ignored: Whether it is a region to be ignored.
    """

    box: list[float]
    visible: list[float] | None
    share: float
    ignored: bool

    def instance(self) -> dict:
        """It as mmdet wants it, see :func:`mmdet_lla.datasets.odgt.read_instances`."""
        instance = {
            'bbox_label': -1 if self.ignored else 0,
            'ignore_flag': int(self.ignored),
            'fbox': _corners(self.box),
            'visible_ratio': self.share,
        }
        # Of what is to be ignored nobody asks for the visible part.
        if self.visible is not None or self.ignored:
            instance['vbox'] = _corners(self.visible or self.box)
        return instance


class CityPersonsImage(NamedTuple):
    """A image of CityPersons.

    Attributes:
        image: As in the file.
        name: ``city/name``, as under ``leftImg8bit/<split>``.
        people: Its annotations.
    """

    image: CocoImage
    name: str
    people: list[CityPersonsAnnotation]


def is_mat(ann_file: str) -> bool:
    """Whether an annotation file is a MAT file, by its name."""
    return ann_file.lower().endswith('.mat')


def open_citypersons(
    ann_file: str,
    backend_args: Mapping | None = None,
    person_classes: Sequence[int] = (PEDESTRIAN,),
    report: ConversionReport | None = None,
) -> dict:
    """Content of CityPersons' annotations, MAT or JSON, in the form of :func:`mat_to_coco`.

    Raises:
        FileNotFoundError: The file is not there.
        AnnotationError: It is no annotation of CityPersons.
    """
    if not is_mat(ann_file):
        return read_coco(ann_file, backend_args)
    content = read_bytes(ann_file, backend_args)
    return _to_coco(content, ann_file, None, person_classes, report or StrictReport())


def read_annotations(
    coco: Mapping, where: str, report: ConversionReport | None = None
) -> list[CityPersonsImage]:
    """Images and people of the COCO-like form, judged.

    An annotation is an ignore region where ``ignore`` or ``iscrowd`` is set or ``category_id`` is
    not 1. A category other than 1 to 5 must be one of the file's ``categories``, or be marked to
    be ignored: files that count classes from 0 would lose everybody.

    Args:
        coco: As :func:`open_citypersons` gives it.
        where: The file, for messages.
        report: Is told what cannot be used; by default the first such thing is an error.

    Raises:
        AnnotationError: What a strict report raises, or no image can be used.
    """
    report = report or StrictReport()
    declared = _declared(coco, where, report)
    images = read_images(coco, where, report, lambda one: _check_fields(one, declared))
    result = []
    for image in images:
        people = []
        for annotation, place in zip(image.annotations, image.places, strict=True):
            people.append(_person(annotation))
            _compare_shares(annotation, place, image, report)
        result.append(CityPersonsImage(image, image_name({'file_name': image.name}), people))
    return result


def mat_to_coco(
    mat: str | BinaryIO,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    person_classes: Sequence[int] = (PEDESTRIAN,),
    report: ConversionReport | None = None,
) -> dict:
    """Read a published MAT file into the COCO-like form of the public evaluation (``val_gt.json``).

    All annotations have ``category_id`` 1; those of other classes than ``person_classes`` have
    ``ignore`` 1, since the benchmark neither counts them nor punishes finding them. Image ids
    count from 1 in the order of the file, as the evaluation expects.

    Args:
        mat: ``anno_train.mat`` or ``anno_val.mat``, path or open file.
        sizes: (height, width) by image name; every image is 1024 x 2048, Cityscapes' size,
            if None.
        person_classes: Classes that count as people.
        report: Is told which rows cannot be used; by default the first such row is an error.

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
    coco: Mapping, report: ConversionReport | None = None, where: str = ''
) -> Iterator[dict]:
    """Records of a COCO-like dict as :func:`open_citypersons` gives it.

    Args:
        coco: The dict.
        report: Is told what cannot be used; by default the first such thing is an error.
        where: The file, for messages.
    """
    report = report or StrictReport()
    for image, record in iter_citypersons(coco, report, where):
        yield make_valid_record(record['ID'], record['gtboxes'], image.places, image.size, report)


def remove_invalid(coco: Mapping, report: ConversionReport, where: str) -> dict:
    """A COCO-like dict without the annotations that the check of a dataset finds faults with.

    Args:
        coco: As :func:`open_citypersons` gives it.
        report: Is told of those, and counts the others as written.
        where: The file, for messages.

    Raises:
        NothingToWrite: There is none.
    """
    images, kept = [], []
    for image, record in iter_citypersons(coco, report, where):
        images.append(coco['images'][image.number - 1])
        for one, annotation, place in zip(
            image.annotations, record['gtboxes'], image.places, strict=True
        ):
            if make_valid_record(record['ID'], [annotation], [place], image.size, report)[
                'gtboxes'
            ]:
                kept.append(one)
    report.written += len(kept)
    if not kept and report.num_rejected:
        raise NothingToWrite('all that was annotated is lost')
    return {**coco, 'images': images, 'annotations': kept}


def iter_citypersons(
    coco: Mapping, report: ConversionReport | None = None, where: str = ''
) -> Iterator[tuple[CocoImage, dict]]:
    """Images and their records, whatever their boxes are; see :func:`citypersons_records`."""
    for image, name, people in read_annotations(
        coco, where or 'annotations of CityPersons', report
    ):
        boxes = []
        for person in people:
            annotation = make_annotation(person.box, person.visible, ignore=person.ignored)
            if person.visible is None and not math.isnan(person.share):
                annotation['extra']['visibility'] = round(person.share, 3)
            boxes.append(annotation)
        yield image, {'ID': name, 'gtboxes': boxes}


def is_ignored(annotation: Mapping) -> bool:
    """Whether an annotation of the COCO-like form is a region to be ignored.

    Raises:
        ValueError: A flag is no number.
    """
    return (
        is_flagged(annotation, 'ignore')
        or is_flagged(annotation, 'iscrowd')
        or annotation.get('category_id', PEDESTRIAN) != PEDESTRIAN
    )


def image_name(image: Mapping) -> str:
    """``city/name`` of an entry of ``images``; the public JSON gives the bare name, ``im_name``."""
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
    for place, name, rows in _cells(content, where):
        height, width = _CITYSCAPES_SIZE if sizes is None else sizes[name]
        images.append({'id': len(images) + 1, 'file_name': name, 'height': height, 'width': width})
        for number, row in enumerate(rows, 1):
            fault = _row_fault(row)
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


def _row_fault(row: Sequence[float]) -> str | None:
    if row[0] not in _CLASSES:
        return f'class must be 0 to 5, got {row[0]:g}'
    for name, box in (('box', row[1:5]), ('visible box', row[6:])):
        if not is_box(list(box)):
            return f'{name} must be four finite numbers x, y, w, h, got {list(box)}'
    return None


def _cells(content: bytes, where: str) -> Iterator[tuple[str, str, list[list[float]]]]:
    """Yield place in the file, ``city/name`` and the rows of ``bbs`` of every image."""
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
        # The directory is the first word of the name, so cityname is not needed.
        name = image_name({'file_name': str(cell.im_name)})
        yield place, name, rows.reshape(-1, _COLUMNS).tolist()


def _declared(coco: Mapping, where: str, report: ConversionReport) -> set[int]:
    """IDs of the file's categories; named if the pedestrians' is not 1."""
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
    share = annotation.get('vis_ratio')
    if share is not None and (
        isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf
    ):
        raise ValueError(f"'vis_ratio' must be a number from 0 to 1, got {share!r:.50}")
    visible = annotation.get('vis_bbox')
    if visible is not None and not is_box(visible):
        raise ValueError(f"'vis_bbox' must be four finite numbers x, y, w, h, got {visible!r:.50}")
    if share is None and visible is None and not is_ignored(annotation):
        raise ValueError(f'annotation {annotation.get("id")!r} has neither vis_ratio nor vis_bbox')


def _person(annotation: Mapping) -> CityPersonsAnnotation:
    share = annotation.get('vis_ratio')
    if share is None:
        share = _share_of_boxes(annotation)
    return CityPersonsAnnotation(
        annotation['bbox'],
        annotation.get('vis_bbox'),
        min(float(share), 1.0),
        is_ignored(annotation),
    )


def _share_of_boxes(annotation: Mapping) -> float:
    visible, (_, _, w, h) = annotation.get('vis_bbox'), annotation['bbox']
    return visible[2] * visible[3] / (w * h) if visible and w * h > 0 else math.nan


def _compare_shares(
    annotation: Mapping, place: str, image: CocoImage, report: ConversionReport
) -> None:
    """Note where an annotation says two things of how much is seen."""
    said, measured = annotation.get('vis_ratio'), _share_of_boxes(annotation)
    if said is not None and abs(said - measured) > _SHARES_DIFFER and not is_ignored(annotation):
        report.warn(
            place,
            f"'vis_ratio' is {said:g}, but 'vis_bbox' and 'bbox' make {measured:.3g}",
            kind='two visible shares',
            number=image.number,
            image=image.name,
        )


def _corners(box: Sequence[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y + h]


sound_coco = remove_invalid
