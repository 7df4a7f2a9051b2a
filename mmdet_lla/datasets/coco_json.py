"""Annotations in COCO's form, every image and record judged once for all readers.

Source of the form: https://cocodataset.org/#format-data.
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
    """A image with its annotations.

    Attributes:
        id (int | str): As annotations name it.
        name: File name, directories divided by slashes.
        number: Place in the file, from 1.
        size: (height, width) if the file tells it.
        annotations: Those that can be used, as in the file.
        places: Where each of them stands in the file, for messages.
    """

    id: int | str
    name: str
    number: int
    size: Size | None
    annotations: list[dict] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def read_coco(path: str, backend_args: Mapping | None = None) -> dict:
    """Content of a JSON file in COCO's form, its lists known to be there.

    Raises:
        FileNotFoundError: It is not there.
        AnnotationError: It is not in this form.
    """
    coco = read_json(path, backend_args, once=('images', 'annotations', 'categories'))
    check_form(coco, path)
    return coco


def check_form(coco: object, where: str) -> None:
    """Raise AnnotationError unless a value has COCO's lists; says what else it seems to be."""
    if not isinstance(coco, dict):
        raise AnnotationError(
            f"{where}: an object with 'images' and 'annotations' was expected, "
            f'got a {type(coco).__name__}'
        )
    if 'imgHeight' in coco or 'objects' in coco:
        raise AnnotationError(
            f"{where}: 'images' and 'annotations' were expected; this is a image's file of "
            "Cityscapes itself ('imgHeight', 'objects'). CityPersons is read from "
            'anno_train.mat, anno_val.mat or val_gt.json'
        )
    if not set(coco) & {'images', 'annotations'}:
        raise AnnotationError(
            f"{where}: 'images' and 'annotations' were expected, 'images' is missing; there are "
            f'{", ".join(map(repr, list(coco)[:5])) or "no fields"}'
        )
    for key in ('images', 'annotations'):
        if not isinstance(coco.get(key), list) or not (coco[key] or key == 'annotations'):
            raise AnnotationError(
                f'{where}: {key!r} is missing or empty, a list was expected, '
                f'got {coco.get(key)!r:.50}'
            )
    if not isinstance(coco.get('categories', []), list):
        raise AnnotationError(f"{where}: 'categories' must be a list")


def read_images(
    coco: Mapping,
    where: str,
    report: ConversionReport,
    check: Callable[[Mapping], str | None],
) -> list[CocoImage]:
    """Images in the file's order, each with those of its annotations that can be used.

    Args:
        coco: Content in COCO's form, see :func:`read_coco`.
        where: The file, for messages.
        report: Is told what cannot be used, and counts annotations read and left out.
        check: Says for what reason an annotation is not wanted, None if it is, or raises as
            ValueError what is wrong with it; see :func:`check_annotation`.

    Raises:
        AnnotationError: No image can be used, or what a strict report raises.
    """
    images: dict[int | str, CocoImage] = {}
    names: dict[str, int] = {}
    for index, image in enumerate(coco['images']):
        place = f'{where}, images[{index}]'
        fault = _image_fault(image, images, names)
        if fault:
            report.reject(place, fault, number=index + 1, records=0)
            continue
        name = _raw_name(image)
        if '\\' in name:
            report.warn(
                place,
                f'{name!r} divides directories by \\, which is read as /; mmdet does not find it',
                kind='odd name',
                number=index + 1,
                image=name,
            )
            name = name.replace('\\', '/')
        names[_raw_name(image)] = index
        images[image['id']] = CocoImage(
            image['id'], name, index + 1, _size_of(image, place, index + 1, report)
        )
    if not images:
        raise AnnotationError(
            f'{where}: not in the form of COCO or CityPersons, no image can be used; the first: '
            f'{_image_fault(coco["images"][0], {}, {})}'
        )
    if not coco['annotations']:
        raise AnnotationError(f"{where}: 'annotations' is empty, so there is nobody to find")
    report.read += len(coco['annotations'])
    for index, annotation in enumerate(coco['annotations']):
        place = f'{where}, annotations[{index}]'
        try:
            if not isinstance(annotation, dict):
                raise ValueError(f'a JSON object was expected, got {annotation!r:.50}')
            image = _picture_of(annotation, images)
        except ValueError as error:
            report.reject(place, str(error), kind='no image')
            continue
        try:
            reason = check(annotation)
        except ValueError as error:
            report.reject(
                place,
                f'image {image.id!r} ({image.name}): {error}',
                number=image.number,
                image=image.name,
            )
            continue
        if reason is not None:
            report.skip(reason)
        else:
            image.annotations.append(annotation)
            image.places.append(place)
    return list(images.values())


def _raw_name(image: Mapping) -> str:
    return image['file_name'] if 'file_name' in image else image['im_name']


def _image_fault(image: object, images: Mapping, names: Mapping) -> str | None:
    """What makes an entry of ``images`` unusable."""
    if not isinstance(image, dict):
        return f'a JSON object was expected, got {image!r:.50}'
    if not _is_id(image.get('id')):
        return f"field 'id' must be a number or a text, got {image.get('id')!r:.50}"
    if image['id'] in images:
        number = images[image['id']].number
        return f'two images have the same id {image["id"]!r}, the other is images[{number - 1}]'
    if 'file_name' not in image and 'im_name' not in image:
        return "field 'file_name' is missing"
    name = _raw_name(image)
    if not isinstance(name, str) or not name:
        return f"field 'file_name' must be a text that is not empty, got {name!r:.50}"
    if name in names:
        return f'two images have the name {name!r}, the other is images[{names[name]}]'
    return None


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _size_of(image: Mapping, place: str, number: int, report: ConversionReport) -> Size | None:
    """Size of a image; None, and named, if what is there cannot be one."""
    if 'height' not in image and 'width' not in image:
        return None
    size = (image.get('height'), image.get('width'))
    if is_size(size):
        return size
    report.reject(
        place,
        f"'height' and 'width' must be whole numbers above 0, got {size[0]!r} and {size[1]!r}",
        kind='no size',
        number=number,
        image=_raw_name(image),
        records=0,
    )
    return None


def _picture_of(annotation: Mapping, images: Mapping) -> CocoImage:
    """The image that an annotation belongs to; ValueError if there is none."""
    if 'image_id' not in annotation:
        raise ValueError("field 'image_id' is missing")
    key = annotation['image_id']
    if _is_id(key) and key in images:
        return images[key]
    hint = ''
    twin = str(key) if isinstance(key, int) else _as_number(key)
    if twin in images:
        hint = f', though one has {twin!r}; text and number are not the same ID'
    raise ValueError(
        f'annotation {annotation.get("id")!r} has image_id {key!r}, which no image has{hint}'
    )


def _as_number(key: object) -> int | None:
    return int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 20 else None


def check_annotation(annotation: Mapping) -> None:
    """Raise ValueError if an annotation's box or flags cannot be used."""
    if 'bbox' not in annotation:
        raise ValueError("field 'bbox' is missing")
    if not is_box(annotation['bbox']):
        raise ValueError(
            f"'bbox' must be four finite numbers x, y, w, h, got {annotation['bbox']!r:.50}"
        )
    for key in ('ignore', 'iscrowd'):
        is_flagged(annotation, key)
