"""COCO instances: people of one annotation file, or a data set with its images.

Format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..coco_json import CocoImage, check_annotation, check_form, read_coco, read_images
from ..image_paths import to_img_id
from ..odgt import is_flagged, make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError
from .layout import ImageIndex, SourceBox, SourceImage, find_files, get_split, read_size
from .writing import make_valid_record


def coco_person_records(
    coco: Mapping,
    category: str = 'person',
    keep_empty: bool = False,
    report: ConversionReport | None = None,
    where: str = 'COCO annotations',
) -> Iterator[dict]:
    """Yield the records of one category; crowds (``iscrowd``) become ignore regions.

    Args:
        coco: Content of the file.
        category: Name of the category.
        keep_empty: Whether to keep images without any annotation of it.
        report: Receives what is invalid; by default the first such thing raises.
        where: Name of the file, for messages.

    Raises:
        AnnotationError: The file has another form, or there is no such category.
    """
    report = report or StrictReport()
    for image, record in iter_coco_person(coco, report, where, category, keep_empty=True):
        valid = make_valid_record(record['ID'], record['gtboxes'], image.places, image.size, report)
        if valid['gtboxes'] or keep_empty:
            yield valid
        else:
            report.skipped_images[f'without any {category}'] += 1


def iter_coco_person(
    coco: Mapping,
    report: ConversionReport,
    where: str,
    category: str = 'person',
    keep_empty: bool = False,
) -> Iterator[tuple[CocoImage, dict]]:
    """Yield images and records without checking boxes; see :func:`coco_person_records`."""
    check_form(coco, where)
    names = _read_category_names(coco, where)
    if category not in names.values():
        raise AnnotationError(
            f'{where}: no category {category!r}; there are {", ".join(names.values())}'
        )

    def check(annotation: Mapping) -> str | None:
        if _get_category(annotation, names) != category:
            return 'of other categories'
        check_annotation(annotation)
        return None

    for image in read_images(coco, where, report, check):
        boxes = [make_annotation(one['bbox'], ignore=_is_ignored(one)) for one in image.annotations]
        if boxes or keep_empty:
            yield image, {'ID': to_img_id(image.name), 'gtboxes': boxes}


def read_coco_dataset(source: Path, report: ConversionReport) -> Iterator[SourceImage]:
    """Read COCO annotations with their images; crowds (``iscrowd``) become ignore regions.

    The split is that of the file's name or directory (``instances_train2017.json``,
    ``valid/_annotations.coco.json``).

    Args:
        source: A JSON file, whose images are below its directory, or below the parent of
            ``annotations``; or a directory. There ``instances_*.json`` are preferred to others,
            such as captions.
        report: Receives what is invalid.

    Raises:
        AnnotationError: There is no such file, or it has another form.
    """
    directory, files = source, [source]
    if source.is_dir():
        files = find_files(source, ('.json',))
        files = [file for file in files if file.name.startswith('instances_')] or files
    else:
        directory = source.absolute().parent
        directory = directory.parent if directory.name == 'annotations' else directory
    index = ImageIndex(directory)
    num_read = 0
    for file in files:
        try:
            coco = read_coco(str(file))
            names = _read_category_names(coco, str(file))
            if not coco['annotations']:
                raise AnnotationError(f"{file}: 'annotations' is empty")
        except AnnotationError as error:
            if file == source:
                raise
            report.warn(str(file), f'not read: {error}', kind='other file')
            continue
        num_read += 1
        split = get_split(file.absolute().relative_to(directory.absolute()))

        def check(annotation: Mapping, names=names) -> None:
            _get_category(annotation, names)
            check_annotation(annotation)

        for image in read_images(coco, str(file), report, check):
            count = len(image.annotations)
            try:
                path = index.find(image.name, file.parent, split)
            except ValueError as error:
                place = f'{file}, images[{image.number - 1}]'
                report.reject(place, str(error), kind='missing image', records=count)
                continue
            size = read_size(path, count, report, image.size)
            if size is not None:
                boxes = [
                    SourceBox(place, _get_category(one, names), one['bbox'], _is_ignored(one))
                    for one, place in zip(image.annotations, image.places, strict=True)
                ]
                yield SourceImage(path, split, size, boxes)
    if not num_read:
        raise AnnotationError(f'{source}: no JSON file in the form of COCO')


def _is_ignored(annotation: Mapping) -> bool:
    return is_flagged(annotation, 'iscrowd') or is_flagged(annotation, 'ignore')


def _get_category(annotation: Mapping, names: Mapping[int, str]) -> str:
    key = annotation.get('category_id')
    if not isinstance(key, int) or key not in names:
        raise ValueError(f"'category_id' is {key!r:.50}, which no category has")
    return names[key]


def _read_category_names(coco: Mapping, where: str) -> dict[int, str]:
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
