"""Pascal VOC: an XML file per image, as in VOCdevkit or beside the images (labelImg, Roboflow).

Splits come from ``ImageSets/Main``, else from the directories' names. Pixels count from 1, and
``xmax`` and ``ymax`` belong to the box.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ..image_sizes import Size
from ..report import ConversionReport
from ..text import AnnotationError, read_bytes, read_text
from .layout import ImageIndex, SourceBox, SourceImage, find_files, get_split, read_size

_LISTS = {'train': 'train', 'val': 'val', 'trainval': 'train', 'test': 'test'}


def read_voc(source: Path, report: ConversionReport) -> Iterator[SourceImage]:
    """Read Pascal VOC annotations; difficult objects become ignore regions.

    Args:
        source: Directory, such as ``VOCdevkit/VOC2012``.
        report: Receives what cannot be used, and images in no list of ``ImageSets/Main``.

    Raises:
        AnnotationError: There is no XML file.
    """
    files = find_files(source, ('.xml',))
    if not files:
        raise AnnotationError(f'{source}: no .xml files')
    index = ImageIndex(source)
    lists = _read_lists(source)
    for file in files:
        try:
            root = ElementTree.fromstring(read_bytes(str(file)))
            if root.tag != 'annotation':
                raise ValueError(f'an element annotation was expected, found {root.tag}')
        except (ElementTree.ParseError, ValueError) as error:
            report.reject(str(file), f'not a VOC annotation: {error}', records=0)
            continue
        objects = root.findall('object')
        report.read += len(objects)
        if lists and file.stem not in lists:
            report.skip('of images in no list of ImageSets/Main', len(objects))
            report.skipped_images['in no list of ImageSets/Main'] += 1
            continue
        split = lists.get(file.stem) or get_split(file.parent.relative_to(source))
        try:
            path = _find_image(root, file, index, split)
        except ValueError as error:
            report.reject(str(file), str(error), kind='missing image', records=len(objects))
            continue
        size = read_size(path, len(objects), report, _declared_size(root))
        if size is None:
            continue
        image = SourceImage(path, split, size)
        for number, item in enumerate(objects, 1):
            place = f'{file}, object {number}'
            try:
                image.boxes.append(_parse_object(item, place))
            except ValueError as error:
                report.reject(place, str(error), image=path.name)
        yield image


def _read_lists(source: Path) -> dict[str, str]:
    """Return the split of each image by name; empty where there are no lists."""
    splits: dict[str, str] = {}
    for name, split in _LISTS.items():
        path = source / 'ImageSets' / 'Main' / f'{name}.txt'
        for line in read_text(str(path)).split('\n') if path.is_file() else []:
            if line.split():
                splits.setdefault(line.split()[0], split)
    return splits


def _find_image(root, file: Path, index: ImageIndex, split: str | None) -> Path:
    """Find the image that is named like the file, else the one that the file names."""
    try:
        return index.find(file.stem, file.parent, split)
    except ValueError:
        return index.find(root.findtext('filename') or file.stem, file.parent, split)


def _declared_size(root) -> Size | None:
    """Return (height, width); None where the file has none, or zeros as labelImg may write."""
    try:
        size = tuple(int(float(root.findtext(f'size/{key}', ''))) for key in ('height', 'width'))
    except ValueError:
        return None
    return size if min(size) > 0 else None


def _parse_object(item, place: str) -> SourceBox:
    name = (item.findtext('name') or '').strip()
    if not name:
        raise ValueError('the name is missing')
    try:
        corners = [float(item.findtext(f'bndbox/{key}', '')) for key in
                   ('xmin', 'ymin', 'xmax', 'ymax')]  # fmt: skip
    except ValueError:
        raise ValueError('bndbox must hold the numbers xmin, ymin, xmax and ymax') from None
    x1, y1, x2, y2 = corners
    difficult = (item.findtext('difficult') or '0').strip() not in ('0', 'false', 'False')
    return SourceBox(place, name, [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], difficult)
