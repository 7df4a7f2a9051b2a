"""COCO instances with their images, as one JSON file or a directory of them.

Splits come from the names of files and directories (``instances_train2017.json``,
``valid/_annotations.coco.json``). Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..coco_json import check_annotation, check_form, read_images
from ..odgt import is_flagged
from ..report import ConversionReport
from ..text import AnnotationError, read_json
from .coco_person import read_category_names
from .layout import ImageIndex, SourceBox, SourceImage, find_files, read_size, split_of


def read_coco_dataset(source: Path, report: ConversionReport) -> Iterator[SourceImage]:
    """Read COCO annotations; crowds (``iscrowd``) become ignore regions.

    Args:
        source: A JSON file with its images beside or below its directory's parent, or a directory.
            Files called ``instances_*.json`` are preferred to captions and keypoints.
        report: Receives what cannot be used.

    Raises:
        AnnotationError: There is no such file, or a single one is of another form.
    """
    directory = source if source.is_dir() else source.absolute().parent
    files = find_files(source, ('.json',)) if source.is_dir() else [source]
    files = [path for path in files if path.name.startswith('instances_')] or files
    # The images of annotations/instances_val2017.json lie beside that directory.
    if source.is_file() and directory.name == 'annotations':
        directory = directory.parent
    index = ImageIndex(directory)
    num_read = 0
    for file in files:
        content = read_json(str(file), once=('images', 'annotations', 'categories'))
        try:
            check_form(content, str(file))
            names = read_category_names(content, str(file))
        except AnnotationError as error:
            if source.is_file():
                raise
            report.warn(str(file), f'not read: {error}', kind='other file')
            continue
        num_read += 1
        place = file.relative_to(directory) if directory in file.parents else Path(file.name)
        yield from _read_file(file, content, names, index, split_of(place), report)
    if not num_read:
        raise AnnotationError(f'{source}: no JSON file in the form of COCO')


def _read_file(
    file: Path,
    content: dict,
    names: dict[int, str],
    index: ImageIndex,
    split: str | None,
    report: ConversionReport,
) -> Iterator[SourceImage]:
    def check(annotation) -> None:
        if annotation.get('category_id') not in names:
            raise ValueError(
                f"'category_id' is {annotation.get('category_id')!r:.50}, which no category has"
            )
        check_annotation(annotation)

    for image in read_images(content, str(file), report, check):
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
                SourceBox(
                    place,
                    names[one['category_id']],
                    one['bbox'],
                    is_flagged(one, 'iscrowd') or is_flagged(one, 'ignore'),
                )
                for one, place in zip(image.annotations, image.places, strict=True)
            ]
            yield SourceImage(path, split, size, boxes)
