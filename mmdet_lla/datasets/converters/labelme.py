"""LabelMe: a JSON file per image, with ``shapes``, ``imagePath``, ``imageHeight``, ``imageWidth``.

Source: https://github.com/wkentaro/labelme.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..odgt import is_box
from ..report import ConversionReport
from ..text import AnnotationError, read_json
from .layout import ImageIndex, SourceBox, SourceImage, find_files, get_split, read_size

_IGNORE_FLAGS = ('ignore', 'ignored', 'crowd', 'iscrowd', 'difficult')


def read_labelme(source: Path, report: ConversionReport) -> Iterator[SourceImage]:
    """Read LabelMe annotations; every shape becomes the box around it.

    Shapes become ignore regions by a flag ``ignore``, ``crowd`` or ``difficult``. Points and lines
    have no area and are rejected.

    Args:
        source: Directory with the JSON files, at any depth.
        report: Receives what cannot be used.

    Raises:
        AnnotationError: There is no JSON file.
    """
    files = find_files(source, ('.json',))
    if not files:
        raise AnnotationError(f'{source}: no .json files')
    index = ImageIndex(source)
    for file in files:
        try:
            content = read_json(str(file))
            shapes = content.get('shapes') if isinstance(content, dict) else None
            if not isinstance(shapes, list):
                raise ValueError(f"{file}: not a LabelMe annotation, 'shapes' is missing")
        except ValueError as error:
            report.reject(str(file), str(error), records=0)
            continue
        report.read += len(shapes)
        split = get_split(file.parent.relative_to(source))
        name = content.get('imagePath')
        try:
            path = index.find(name if isinstance(name, str) and name else file.stem, file.parent)
        except ValueError as error:
            report.reject(str(file), str(error), kind='missing image', records=len(shapes))
            continue
        declared = (content.get('imageHeight'), content.get('imageWidth'))
        size = read_size(path, len(shapes), report, declared if all(declared) else None)
        if size is None:
            continue
        image = SourceImage(path, split, size)
        for number, shape in enumerate(shapes):
            place = f'{file}, shapes[{number}]'
            try:
                image.boxes.append(_parse_shape(shape, place))
            except ValueError as error:
                report.reject(place, str(error), image=path.name)
        yield image


def _parse_shape(shape: object, place: str) -> SourceBox:
    if not isinstance(shape, dict) or not isinstance(shape.get('label'), str):
        raise ValueError("an object with a text 'label' was expected")
    points, kind = shape.get('points'), shape.get('shape_type') or 'polygon'
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and is_box(point * 2) for point in points
    ):
        raise ValueError("'points' must be a list of finite x, y")
    if kind == 'circle' and len(points) == 2:  # center and a point of the circle
        (x, y), radius = points[0], math.dist(*points)
        points = [[x - radius, y - radius], [x + radius, y + radius]]
    elif kind not in ('rectangle', 'polygon', 'mask') or len(points) < 2:
        raise ValueError(f'a {kind} of {len(points)} points has no box')
    xs, ys = zip(*points, strict=True)
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    flags = shape.get('flags')
    ignore = isinstance(flags, Mapping) and any(flags.get(key) for key in _IGNORE_FLAGS)
    return SourceBox(place, shape['label'], box, ignore)
