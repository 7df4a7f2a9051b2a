"""Convert annotated images of any source format to the CrowdHuman layout.

``OUT/annotation_train.odgt``, ``OUT/annotation_val.odgt`` and ``OUT/Images``, as ``CrowdDataset``
reads them. Readers of single formats yield :class:`SourceImage`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..image_paths import IMG_EXTENSIONS, to_img_id
from ..image_sizes import ImageReadError, Size, read_image_size
from ..odgt import make_annotation
from ..report import ConversionReport
from ..text import AnnotationError
from .writing import (
    NothingToWrite,
    check_written,
    make_valid_record,
    run_conversion,
    write_records,
)

#: Classes that are kept by default.
PERSON_CLASSES = ('person', 'people', 'pedestrian', 'human', 'man', 'woman', 'boy', 'girl', 'child')
#: Classes whose boxes become ignore regions by default.
IGNORE_CLASSES = ('ignore', 'ignored', 'ignored regions', 'crowd', 'dontcare')
_SPLITS = {'train': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test'}


@dataclass
class SourceBox:
    """One annotation of a source.

    Attributes:
        place: File and position in it, for messages.
        class_name: As the source names it.
        bbox: x, y, w, h in pixels.
        ignore: Whether the source marks it as difficult, a crowd or to be ignored.
    """

    place: str
    class_name: str
    bbox: Sequence[float]
    ignore: bool = False


@dataclass
class SourceImage:
    """One annotated image of a source.

    Attributes:
        path: Image file.
        split: 'train', 'val' or 'test'; None if the source does not say.
        size: (height, width) of the image file.
        boxes: Its annotations.
    """

    path: Path
    split: str | None
    size: Size
    boxes: list[SourceBox] = field(default_factory=list)


Reader = Callable[[Path, ConversionReport], Iterable[SourceImage]]


def convert_dataset(
    read: Reader,
    source: str | Path,
    out: str | Path,
    classes: Sequence[str] | None = None,
    ignore_classes: Sequence[str] = IGNORE_CLASSES,
    val_fraction: float = 0.2,
    seed: int = 0,
    link: bool = False,
) -> int:
    """Convert a source to the CrowdHuman layout and print the conversion report.

    >>> import tempfile
    >>> from PIL import Image
    >>> def read(source, report):
    ...     report.read += 1
    ...     box = SourceBox('a.txt, line 1', 'Person', [10, 5, 20, 30])
    ...     yield SourceImage(source / 'a.jpg', 'train', (50, 60), [box])
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Image.new('RGB', (60, 50)).save(f'{root}/a.jpg')
    ...     status = convert_dataset(read, root, f'{root}/out')  # doctest: +ELLIPSIS
    train: 1 images, 1 people and 0 ignore regions in ...
    >>> status
    0

    Args:
        read: Reader of the source's format, see ``CONVERTERS``.
        source: Directory or file of the source.
        out: Directory to create; it must not exist, or be empty, and appears only when complete.
        classes: Names of the classes that are kept, case ignored; :data:`PERSON_CLASSES` if None.
        ignore_classes: Names of the classes whose boxes become ignore regions.
        val_fraction: Fraction of the images that go to the validation split where the source has
            none.
        seed: Seed of that choice.
        link: Whether to link to the source's images instead of copying them.

    Returns:
        int: Exit status. 0: every record was written or skipped on purpose; 1: some were rejected,
        each of them named; 2: the conversion failed and nothing was written.
    """
    source, out = Path(source), Path(out)

    def write(report: ConversionReport) -> str:
        if not 0 <= val_fraction < 1:
            raise ValueError(f'val_fraction must be in [0, 1), got {val_fraction}')
        with _new_directory(out) as part:
            if not source.exists():
                raise FileNotFoundError(f'{source} does not exist')
            images = list(tqdm(read(source, report), unit=' images'))
            if not images:
                raise NothingToWrite('there is no image')
            for image in images:  # names in the output must not contain ..
                image.path = Path(os.path.abspath(image.path))
            _select_classes(images, classes, ignore_classes, report)
            _split_images(images, val_fraction, seed)
            return _write_layout(images, part, link, report)

    return run_conversion(write, str(out))


def get_split(path: Path) -> str | None:
    """Return the split that a part of a relative path names, the last part first.

    >>> get_split(Path('valid/images')), get_split(Path('instances_train2017.json'))
    ('val', 'train')
    """
    for part in reversed(path.parts):
        for word in re.split('[^a-z]+', part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def read_size(
    path: Path, records: int, report: ConversionReport, declared: Size | None = None
) -> Size | None:
    """Return the size of an image, or None after rejecting its records.

    Args:
        path: The image file.
        records: Number of its records.
        report: Receives them if the image cannot be read or has another size than declared.
        declared: (height, width) that the annotation gives, if any.
    """
    try:
        size = read_image_size(str(path))
    except ImageReadError as error:
        report.reject(str(path), str(error), kind='unreadable image', records=records)
        return None
    if declared is not None and declared != size:
        report.reject(
            str(path),
            f'the image is {size[1]} x {size[0]}, its annotation is for '
            f'{declared[1]} x {declared[0]}',
            kind='other size',
            records=records,
        )
        return None
    return size


def find_files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """List the files of a directory tree by suffix, sorted, without hidden ones.

    >>> find_files(Path('does not exist'), ['.xml'])
    []
    """
    found, visited = [], set()
    for directory, subdirectories, names in os.walk(source, followlinks=True):
        real = os.path.realpath(directory)
        if real in visited:
            subdirectories.clear()
            continue
        visited.add(real)
        subdirectories[:] = [name for name in subdirectories if not name.startswith('.')]
        found += [
            Path(directory, name)
            for name in names
            if name.lower().endswith(tuple(suffixes)) and not name.startswith('.')
        ]
    return sorted(found)


class ImageIndex:
    """Finds image files below a directory by the names that annotations give."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.by_stem: dict[str, list[Path]] = {}
        for path in find_files(source, IMG_EXTENSIONS):
            self.by_stem.setdefault(path.stem, []).append(path)

    def find(self, name: str, near: Path, split: str | None = None) -> Path:
        """Find an image.

        Args:
            name: File name, with or without extension and directories.
            near: Directory of the annotation; the nearest of several images of a name is taken.
            split: Split whose directory is preferred.

        Raises:
            ValueError: There is no such image, or several are equally near.
        """
        name = name.replace('\\', '/')
        base = name.rsplit('/', 1)[-1]
        has_suffix = base.lower().endswith(IMG_EXTENSIONS)
        found = self.by_stem.get(Path(base).stem if has_suffix else base, [])
        if has_suffix:
            found = [path for path in found if path.name == base]
        for prefer in (
            lambda path: path.as_posix().endswith('/' + name.lstrip('./')),
            lambda path: path.parent == near,
            lambda path: near.parent in path.parents,
            lambda path: (
                split is not None and get_split(path.parent.relative_to(self.source)) == split
            ),
        ):
            found = [path for path in found if prefer(path)] or found
        if len(found) == 1:
            return found[0]
        raise ValueError(
            f'there are several images {name}: {found[0]}, {found[1]}'
            if found
            else f'there is no image {name}'
        )


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """Yield a directory to fill that gets its name only if no error occurs."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise FileExistsError(f'{out} exists and is not empty; give another directory')
    part = out.with_name(f'{out.name}.{os.getpid()}.part')
    part.mkdir(parents=True)
    try:
        yield part
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _normalize(name: str) -> str:
    return name.strip().lower().replace('_', ' ')


def _select_classes(
    images: Sequence[SourceImage],
    classes: Sequence[str] | None,
    ignore_classes: Sequence[str],
    report: ConversionReport,
) -> None:
    """Drop boxes of other classes, counted, and mark those of ignore classes."""
    kept = {_normalize(name): name for name in classes or PERSON_CLASSES}
    ignored = {_normalize(name) for name in ignore_classes} - set(kept)
    counts = Counter(box.class_name for image in images for box in image.boxes)
    present = {_normalize(name) for name in counts}
    absent = [name for key, name in kept.items() if key not in present]
    if counts and (absent if classes else len(absent) == len(kept)):
        names = ', '.join(f'{name} ({count})' for name, count in counts.most_common(20))
        raise AnnotationError(
            f'no annotation has class {" or ".join(map(repr, absent))}; the source has {names}'
        )
    for image in images:
        boxes, image.boxes = image.boxes, []
        for box in boxes:
            name = _normalize(box.class_name)
            box.ignore |= name in ignored
            if name in kept or name in ignored:
                image.boxes.append(box)
            else:
                report.skip(f'of class {box.class_name}')


def _split_images(images: Sequence[SourceImage], val_fraction: float, seed: int) -> None:
    """Set the split of every image: the source's, or a random one where it has no val split."""
    rest = sorted((one for one in images if one.split in (None, 'train')), key=lambda x: x.path)
    chosen: set[int] = set()
    if len(rest) > 1 and val_fraction and not any(one.split == 'val' for one in images):
        count = max(1, round(val_fraction * len(rest)))
        chosen = set(random.Random(seed).sample(range(len(rest)), count))
    for index, image in enumerate(rest):
        image.split = 'val' if index in chosen else 'train'


def _write_layout(
    images: Sequence[SourceImage], directory: Path, link: bool, report: ConversionReport
) -> str:
    paths = {image.path for image in images}
    root = Path(os.path.commonpath([path.parent for path in paths]))
    parts = []
    for split in ('train', 'val', 'test'):
        members = [image for image in images if image.split == split]
        if members:
            path = directory / f'annotation_{split}.odgt'
            with path.open('w', encoding='utf-8') as file:
                records = (_make_record(image, root, report) for image in members)
                parts.append(f'{split}: {write_records(records, file, report)}')
    check_written(report)
    for path in tqdm(sorted(paths), desc='linking images' if link else 'copying images'):
        target = directory / 'Images' / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, target)
    return '; '.join(parts)


def _make_record(image: SourceImage, root: Path, report: ConversionReport) -> dict:
    img_id = to_img_id(image.path.relative_to(root).as_posix())
    annotations = [make_annotation(box.bbox, ignore=box.ignore) for box in image.boxes]
    places = [box.place for box in image.boxes]
    return make_valid_record(img_id, annotations, places, image.size, report)
