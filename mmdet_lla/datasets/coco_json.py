"""Read COCO-style JSON and check every image and annotation, for all readers of this form.

Format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .image_sizes import Size, is_size
from .odgt import is_box, is_flagged
from .report import ConversionReport
from .text import AnnotationError, read_json


@dataclass
class CocoImage:
    """An image with its valid annotations.

    Attributes:
        id (int | str): ID that annotations refer to.
        name: File name, directories separated by slashes.
        number: Position in the file, from 1.
        size: (height, width) if the file gives it.
        annotations: Valid annotations, as in the file.
        places: Position of each of them in the file, for messages.
    """

    id: int | str
    name: str
    number: int
    size: Size | None
    annotations: list[dict] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def read_coco(path: str, backend_args: Mapping | None = None) -> dict:
    """Read a COCO-style JSON file and check that it has COCO's lists.

    Raises:
        FileNotFoundError: It does not exist.
        AnnotationError: It has another form.
    """
    coco = read_json(path, backend_args, once=('images', 'annotations', 'categories'))
    check_form(coco, path)
    return coco


def check_form(coco: object, where: str) -> None:
    """Raise AnnotationError unless a value has COCO's lists.

    >>> check_form({'images': [{'id': 1}], 'annotations': []}, 'a.json')
    """
    if not isinstance(coco, dict):
        raise AnnotationError(
            f"{where}: an object with 'images' and 'annotations' was expected, "
            f'got a {type(coco).__name__}'
        )
    if 'imgHeight' in coco or 'objects' in coco:
        raise AnnotationError(
            f"{where}: 'images' and 'annotations' were expected; this is the file of a single "
            "Cityscapes image ('imgHeight', 'objects'). CityPersons is read from "
            'anno_train.mat, anno_val.mat or val_gt.json'
        )
    for key in ('images', 'annotations'):
        if not isinstance(coco.get(key), list) or not (coco[key] or key == 'annotations'):
            raise AnnotationError(
                f'{where}: {key!r} is missing or empty, a list was expected, '
                f'got {coco.get(key)!r:.50}; the fields are {list(coco)[:5]}'
            )
    if not isinstance(coco.get('categories', []), list):
        raise AnnotationError(f"{where}: 'categories' must be a list")


def read_images(
    coco: Mapping,
    where: str,
    report: ConversionReport,
    check: Callable[[Mapping], str | None],
) -> list[CocoImage]:
    """Return the images in the file's order, each with its valid annotations.

    Args:
        coco: Content of the file, see :func:`read_coco`.
        where: Name of the file, for messages.
        report: Counts annotations and receives rejected and skipped ones.
        check: Returns the reason for which an annotation is skipped, None to keep it, or raises
            ValueError if it is invalid; see :func:`check_annotation`.

    Raises:
        AnnotationError: There is no valid image or no annotation, or a strict report raises.
    """
    images: dict[int | str, CocoImage] = {}
    names: dict[str, int] = {}
    for index, entry in enumerate(coco['images']):
        place = f'{where}, images[{index}]'
        fault = _find_image_fault(entry, images, names)
        if fault:
            report.reject(place, fault, number=index + 1, records=0)
            continue
        name = _get_name(entry)
        names[name] = index
        details = dict(number=index + 1, image=name)
        if '\\' in name:
            reason = f'{name!r} separates directories by \\, which is read as /, not so by mmdet'
            report.warn(place, reason, kind='unusual name', **details)
        size = (entry.get('height'), entry.get('width'))
        if not is_size(size):
            if size != (None, None) or 'height' in entry or 'width' in entry:
                reason = f"'height' and 'width' must be whole numbers above 0, got {size}"
                report.reject(place, reason, kind='no size', records=0, **details)
            size = None
        images[entry['id']] = CocoImage(entry['id'], name.replace('\\', '/'), index + 1, size)
    if not images:
        raise AnnotationError(
            f'{where}: not in the form of COCO or CityPersons, no image can be used; the first: '
            f'{_find_image_fault(coco["images"][0], {}, {})}'
        )
    if not coco['annotations']:
        raise AnnotationError(f"{where}: 'annotations' is empty")
    report.read += len(coco['annotations'])
    for index, annotation in enumerate(coco['annotations']):
        place = f'{where}, annotations[{index}]'
        try:
            image = _find_image(annotation, images)
        except ValueError as error:
            report.reject(place, str(error), kind='no image')
            continue
        try:
            reason = check(annotation)
        except ValueError as error:
            reason = f'image {image.id!r} ({image.name}): {error}'
            report.reject(place, reason, number=image.number, image=image.name)
            continue
        if reason is not None:
            report.skip(reason)
        else:
            image.annotations.append(annotation)
            image.places.append(place)
    return list(images.values())


def check_annotation(annotation: Mapping) -> None:
    """Raise ValueError if the box or a flag of an annotation is invalid.

    >>> check_annotation({'bbox': [0, 0, 10, 20], 'iscrowd': 0})
    """
    if 'bbox' not in annotation:
        raise ValueError("field 'bbox' is missing")
    if not is_box(annotation['bbox']):
        raise ValueError(
            f"'bbox' must be four finite numbers x, y, w, h, got {annotation['bbox']!r:.50}"
        )
    for key in ('ignore', 'iscrowd'):
        is_flagged(annotation, key)


def _get_name(entry: Mapping) -> str:
    return entry['file_name'] if 'file_name' in entry else entry['im_name']


def _find_image_fault(entry: object, images: Mapping, names: Mapping) -> str | None:
    """Return what is wrong with an entry of ``images``, given the entries before it."""
    if not isinstance(entry, dict):
        return f'a JSON object was expected, got {entry!r:.50}'
    if not _is_id(entry.get('id')):
        return f"field 'id' must be a number or a text, got {entry.get('id')!r:.50}"
    if entry['id'] in images:
        number = images[entry['id']].number
        return f'two images have the same id {entry["id"]!r}, the other is images[{number - 1}]'
    if 'file_name' not in entry and 'im_name' not in entry:
        return "field 'file_name' is missing"
    name = _get_name(entry)
    if not isinstance(name, str) or not name:
        return f"field 'file_name' must be a text that is not empty, got {name!r:.50}"
    if name in names:
        return f'two images have the name {name!r}, the other is images[{names[name]}]'
    return None


def _find_image(annotation: object, images: Mapping[int | str, CocoImage]) -> CocoImage:
    """Return the image of an annotation; raise ValueError if there is none."""
    if not isinstance(annotation, dict):
        raise ValueError(f'a JSON object was expected, got {annotation!r:.50}')
    if 'image_id' not in annotation:
        raise ValueError("field 'image_id' is missing")
    key = annotation['image_id']
    if _is_id(key) and key in images:
        return images[key]
    twin: int | str | None = str(key) if isinstance(key, int) else None
    if isinstance(key, str) and key.isdecimal() and len(key) < 20:
        twin = int(key)
    hint = f', though one has {twin!r}; text and number are different IDs' if twin in images else ''
    raise ValueError(
        f'annotation {annotation.get("id")!r} has image_id {key!r}, which no image has{hint}'
    )


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
