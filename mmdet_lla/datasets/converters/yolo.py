"""YOLO: a text file per image, a line per box, coordinates as fractions of the image size.

``class cx cy w h``, or the polygon of a segmentation ``class x1 y1 x2 y2 ...``, or a box followed
by keypoints where ``data.yaml`` has ``kpt_shape``. Splits and class names come from ``data.yaml``
(``path``, ``train``, ``val``, ``test``, ``names``), else from the directories' names and
``classes.txt`` or ``obj.names``.
Source: https://docs.ultralytics.com/datasets/detect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from ..image_paths import IMG_EXTENSIONS
from ..image_sizes import Size
from ..report import ConversionReport
from ..text import AnnotationError, read_text
from .layout import SourceBox, SourceImage, find_files, get_split, read_size

_NAME_FILES = ('classes.txt', 'obj.names', 'labels/classes.txt')
_TOLERANCE = 0.01  # coordinates rounded beyond the border, as Ultralytics accepts them


def read_yolo(source: Path, report: ConversionReport) -> Iterator[SourceImage]:
    """Read a YOLO data set; an image without a label file has no boxes.

    Args:
        source: Its directory, or its ``data.yaml``.
        report: Receives rejected lines, and label files without an image.

    Raises:
        AnnotationError: ``data.yaml`` is malformed.
    """
    info, root = _read_info(source)
    names = _read_names(info, root)
    used: set[Path] = set()
    unlabeled = 0
    for split, path in _list_images(info, root):
        labels = _find_label_file(path)
        used.add(labels)
        lines = _read_lines(labels)
        unlabeled += not labels.is_file()
        report.read += len(lines)
        size = read_size(path, len(lines), report)
        if size is None:
            continue
        image = SourceImage(path, split, size)
        for number, line in lines:
            place = f'{labels}, line {number}'
            try:
                image.boxes.append(_parse_line(line, place, names, size, 'kpt_shape' in info))
            except ValueError as error:
                report.reject(place, str(error), image=path.name)
        yield image
    if unlabeled:
        report.warn(str(root), f'{unlabeled} images have no label file and are taken as background')
    for directory in sorted({path.parent for path in used if path.parent.is_dir()}):
        for labels in sorted(set(directory.glob('*.txt')) - used):
            lines = [line for _, line in _read_lines(labels) if line.split()[0].isdecimal()]
            report.read += len(lines)
            if lines:
                report.reject(
                    str(labels), 'no image of this name', kind='missing image', records=len(lines)
                )


def _read_info(source: Path) -> tuple[dict, Path]:
    """Return the content of ``data.yaml``, {} if there is none, and the data's directory."""
    files = [source] if source.is_file() else [*source.glob('*.yaml'), *source.glob('*.yml')]
    if not files:
        return {}, source
    if len(files) > 1:
        files = [path for path in files if path.stem == 'data']
        if len(files) != 1:
            raise AnnotationError(f'{source}: several .yaml files; give the path of one of them')
    try:
        info = yaml.safe_load(read_text(str(files[0])))
    except yaml.YAMLError as error:
        raise AnnotationError(f'{files[0]}: not YAML: {error}') from error
    if not isinstance(info, dict) or not isinstance(info.get('names'), (list, dict)):
        raise AnnotationError(f"{files[0]}: a field 'names' with the class names was expected")
    root = files[0].parent / str(info.get('path') or '')
    return info, root if root.is_dir() else files[0].parent


def _read_names(info: Mapping, root: Path) -> dict[int, str]:
    """Return class names by number; the numbers themselves where nothing names them."""
    names = info.get('names')
    if names is None:
        files = [root / name for name in _NAME_FILES if (root / name).is_file()]
        names = read_text(str(files[0])).split('\n') if files else []
    items = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(number): str(name).strip() for number, name in items if str(name).strip()}


def _list_images(info: Mapping, root: Path) -> Iterator[tuple[str | None, Path]]:
    """Yield the split and path of every image."""
    splits = {split: info[split] for split in ('train', 'val', 'test') if info.get(split)}
    if not splits:
        for path in find_files(root, IMG_EXTENSIONS):
            yield get_split(path.parent.relative_to(root)), path
    for split, places in splits.items():
        for place in places if isinstance(places, list) else [places]:
            path = root / str(place)
            if not path.exists():  # Roboflow writes ../train/images for train/images
                path = root / str(place).lstrip('./')
            if path.is_dir():
                yield from ((split, image) for image in find_files(path, IMG_EXTENSIONS))
            elif path.is_file():
                for line in read_text(str(path)).split():
                    yield split, path.parent / line if line.startswith('.') else root / line
            else:
                raise AnnotationError(f'{split}: {place} does not exist in {root}')


def _find_label_file(image: Path) -> Path:
    """Return ``labels/x.txt`` for ``images/x.jpg``, or the file beside the image."""
    parts = list(image.parts)
    if 'images' in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index('images')] = 'labels'
        if (path := Path(*parts).with_suffix('.txt')).is_file():
            return path
        if not image.with_suffix('.txt').is_file():
            return path
    return image.with_suffix('.txt')


def _read_lines(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():
        return []
    lines = enumerate(read_text(str(path)).split('\n'), 1)
    return [(number, line) for number, line in lines if line.strip()]


def _parse_line(
    line: str, place: str, names: Mapping[int, str], size: Size, keypoints: bool
) -> SourceBox:
    kind, *values = (float(value) for value in line.split())
    if not kind.is_integer() or (names and int(kind) not in names):
        raise ValueError(f'class must be one of {", ".join(map(str, names)) or "0, 1, ..."}')
    if keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f'{len(values) + 1} columns, expected 5 or a polygon of 3 or more points')
    if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in values):
        raise ValueError('coordinates must be fractions of the image size, 0 to 1')
    if len(values) == 4:
        cx, cy, w, h = values
        x, y = cx - w / 2, cy - h / 2
    else:
        x, y = min(values[::2]), min(values[1::2])
        w, h = max(values[::2]) - x, max(values[1::2]) - y
    name = names.get(int(kind), str(int(kind)))
    return SourceBox(place, name, [x * size[1], y * size[0], w * size[1], h * size[0]])
