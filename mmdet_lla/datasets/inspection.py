"""Find everything that is wrong with an annotation file and its images before a training."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

from .box_faults import find_box_faults
from .coco_json import CocoImage, read_coco
from .converters.citypersons import is_mat, iter_citypersons, open_citypersons
from .converters.coco import iter_coco_person
from .image_paths import ImageLocator
from .image_sizes import (
    ImageReadError,
    ImageTooLargeError,
    Size,
    digest,
    list_cache_paths,
    load_cache,
    read_image_size,
)
from .odgt import BOXES, OdgtError, find_record_fault, iter_records
from .report import ConversionReport
from .text import read_bytes

#: Kind of a problem after which it is unknown whether an image is valid.
UNCHECKED = 'image not checked'


@dataclass(frozen=True)
class Problem:
    """One problem of a data set.

    >>> str(Problem('repeated ID', 7, 'a', 'it is on line 1 already'))
    'line 7 a: repeated ID: it is on line 1 already'

    Attributes:
        kind: A few words to group by.
        line: Line of the annotation file, or number of the image in a JSON or MAT file, from 1;
            0 if it belongs to none.
        image: ID of the image, '' if unknown.
        message: What is wrong.
    """

    kind: str
    line: int
    image: str
    message: str

    def __str__(self) -> str:
        name = f' {self.image}' if self.image else ''
        place = f'line {self.line}{name}: ' if self.line else ''
        return f'{place}{self.kind}: {self.message}'


@dataclass
class Inspection:
    """Result of a check: valid records, image sizes by ID, and problems by line."""

    records: list[dict] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def inspect_dataset(
    ann_file: str,
    directory: str,
    suffix: str = '.jpg',
    decode: bool = True,
    cache_dir: str | None = None,
    workers: int = 8,
    box: str = 'body',
) -> Inspection:
    """Check an annotation file and its images.

    Reported are: lines that are no JSON or lack a field; tags other than 'person' and 'mask'; boxes
    of negative size or without area; people outside their image; repeated IDs; images that are
    missing or unreadable; cached sizes that differ from the images. In a JSON or MAT file also
    every record that a dataset or metric would refuse, and sizes that differ from the images. For
    boxes see :func:`~mmdet_lla.datasets.box_faults.find_box_faults`.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     path = pathlib.Path(root, 'annotation_val.odgt')
    ...     _ = path.write_text('{"ID": "a", "gtboxes": []}')
    ...     [problem.kind for problem in inspect_dataset(str(path), root).problems]
    ['missing image']

    Args:
        ann_file: ``.odgt``, or CityPersons' ``.mat``, or ``.json`` of CityPersons or COCO.
        directory: The image directory.
        suffix: Extension added to an ID to find its image.
        decode: Whether to decode every image; reading headers only does not find truncated images.
        cache_dir: The dataset's ``cache_dir``, if it has one.
        workers: Number of threads that read images.
        box: Box that every annotation must have: 'body', 'visible' or 'head'.

    Raises:
        OSError: The annotation file cannot be read.
        ValueError: It is no text, empty, or a JSON or MAT file of an unknown form.
    """
    found = Inspection()
    content = read_bytes(ann_file)
    if osp.splitext(ann_file)[1].lower() in ('.mat', '.json'):
        entries = _read_coco_entries(ann_file, found)
    else:
        entries = _read_odgt_entries(content, ann_file, BOXES[box], found)
    found.records = [record for _, record, _ in entries]
    locator = ImageLocator(directory, suffix)
    paths = [locator.locate(record['ID']) for record in found.records]
    caches = {
        path: sizes
        for path in list_cache_paths(ann_file, directory, cache_dir)
        if (sizes := load_cache(path, digest(content))) is not None
    }
    results = _read_images(paths, decode, workers)
    first_lines: dict[str, int] = {}
    for (line, record, declared), path, size in zip(entries, paths, results, strict=True):
        img_id = record['ID']

        def report(kind: str, message: str, line=line, img_id=img_id) -> None:
            found.problems.append(Problem(kind, line, img_id, message))

        if img_id in first_lines:
            report('repeated ID', f'it is on line {first_lines[img_id]} already')
        first_lines.setdefault(img_id, line)
        if path is None:
            report('missing image', osp.join(directory, img_id + suffix))
        elif isinstance(size, ImageReadError):
            unchecked = isinstance(size, ImageTooLargeError)
            report(UNCHECKED if unchecked else 'unreadable image', str(size))
        else:
            found.sizes[img_id] = size
            others = {source: sizes.get(img_id) for source, sizes in caches.items()}
            for source, other in {**others, ann_file: declared}.items():
                if other is not None and other != size:
                    report('other size', f'{source} has {other}, the image {size}')
        for index, annotation in enumerate(record['gtboxes']):
            for kind, what in find_box_faults(annotation, found.sizes.get(img_id, declared)):
                report(kind, f'gtboxes[{index}] {what}')
    found.problems.sort(key=lambda problem: problem.line)
    return found


def _read_odgt_entries(
    content: bytes, ann_file: str, key: str, found: Inspection
) -> list[tuple[int, dict, None]]:
    """Return (line, record, None) of the valid lines of an ``.odgt`` file; report the others."""
    entries = []
    for line, record in iter_records(content, ann_file):
        if isinstance(record, OdgtError):
            found.problems.append(Problem('bad JSON', line, '', str(record)))
        elif fault := find_record_fault(record, key):
            img_id = record.get('ID')
            img_id = img_id if isinstance(img_id, str) else ''
            found.problems.append(Problem('malformed', line, img_id, fault))
        else:
            entries.append((line, record, None))
    return entries


def _read_coco_entries(ann_file: str, found: Inspection) -> list[tuple[int, dict, Size | None]]:
    """Return (number, record, declared size) of the images of a JSON or MAT file."""
    report = ConversionReport()
    entries = [
        (image.number, record, None if is_mat(ann_file) else image.size)
        for image, record in _iter_coco_records(ann_file, report)
    ]
    found.problems += [
        Problem(issue.kind, issue.number, issue.image, str(issue)) for issue in report.issues
    ]
    return entries


def _iter_coco_records(ann_file: str, report: ConversionReport) -> Iterator[tuple[CocoImage, dict]]:
    if is_mat(ann_file):
        return iter_citypersons(open_citypersons(ann_file, report=report), report, ann_file)
    coco = read_coco(ann_file)
    entries = [one for key in ('images', 'annotations') for one in coco[key]]
    fields = {'vis_ratio', 'vis_bbox', 'im_name'}
    if any(isinstance(one, dict) and fields & set(one) for one in entries):
        return iter_citypersons(coco, report, ann_file)
    return iter_coco_person(coco, report, ann_file)


def _read_images(
    paths: Sequence[str | None], decode: bool, workers: int
) -> list[Size | ImageReadError | None]:
    """Return the size of every image, or the error; None for a missing image."""

    def read(path: str | None) -> Size | ImageReadError | None:
        try:
            return None if path is None else read_image_size(path, decode=decode)
        except ImageReadError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(read, paths)
        return list(tqdm(results, 'images', len(paths), disable=len(paths) < 100))
