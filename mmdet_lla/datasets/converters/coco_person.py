"""People in COCO. Source: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..coco_json import CocoImage, check_annotation, check_form, read_images
from ..odgt import is_flagged, make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError
from .writing import make_valid_record


def coco_person_records(
    coco: Mapping,
    category: str = 'person',
    keep_empty: bool = False,
    report: ConversionReport | None = None,
    where: str = 'annotations of COCO',
) -> Iterator[dict]:
    """Records of a COCO annotation file; crowds (``iscrowd``) become ignore regions.

    Args:
        coco: The file's content.
        category: Name of the category taken.
        keep_empty: Whether to keep images without any of them.
        report: Is told what cannot be used; by default the first such thing is an error.
        where: The file, for messages.

    Raises:
        AnnotationError: The file is of another form, or there is no such category.
    """
    report = report or StrictReport()
    for image, record in iter_coco_person(coco, category, True, report, where):
        kept = make_valid_record(record['ID'], record['gtboxes'], image.places, image.size, report)
        if kept['gtboxes'] or keep_empty:
            yield kept
        else:
            report.skipped_images[f'without any {category}'] += 1


def iter_coco_person(
    coco: Mapping,
    category: str = 'person',
    keep_empty: bool = False,
    report: ConversionReport | None = None,
    where: str = 'annotations of COCO',
) -> Iterator[tuple[CocoImage, dict]]:
    """Images and their records, whatever their boxes are; see :func:`coco_person_records`."""
    report = report or StrictReport()
    check_form(coco, where)
    names = read_category_names(coco, where)
    if category not in names.values():
        raise AnnotationError(
            f'{where}: no category {category!r}; there are {", ".join(names.values())}'
        )

    def check(annotation: Mapping) -> str | None:
        key = annotation.get('category_id')
        if not isinstance(key, int) or key not in names:
            raise ValueError(f"'category_id' is {key!r:.50}, which no category has")
        if names[key] != category:
            return 'of other categories'
        check_annotation(annotation)
        return None

    for image in read_images(coco, where, report, check):
        boxes = [
            make_annotation(
                one['bbox'], ignore=is_flagged(one, 'iscrowd') or is_flagged(one, 'ignore')
            )
            for one in image.annotations
        ]
        if boxes or keep_empty:
            # mmdet's own reader adds .jpg to every ID.
            yield image, {'ID': image.name.removesuffix('.jpg'), 'gtboxes': boxes}


def read_category_names(coco: Mapping, where: str) -> dict[int, str]:
    if not coco.get('categories'):
        raise AnnotationError(
            f"{where}: not in the form of COCO or CityPersons, 'categories' is missing or empty"
        )
    names = {}
    for index, one in enumerate(coco['categories']):
        if not isinstance(one, dict) or type(one.get('id')) is not int or 'name' not in one:
            raise AnnotationError(
                f"{where}, categories[{index}]: 'id' and 'name' were expected, got {one!r:.50}"
            )
        names[one['id']] = str(one['name'])
    return names
