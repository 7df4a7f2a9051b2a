"""Everything that is wrong with an annotation file and its images, found before a training."""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

from .box_faults import find_box_faults
from .coco_json import CocoImage, read_coco
from .converters.citypersons import is_mat, iter_citypersons, open_citypersons
from .converters.coco_person import iter_coco_person
from .image_sizes import (
    ImageReadError,
    ImageTooLargeError,
    Size,
    cache_files,
    decode_image,
    digest,
    load_cache,
    locate_images,
    read_image_size,
    read_size_table,
)
from .odgt import BOXES, OdgtError, find_record_fault, iter_records
from .report import ConversionReport
from .text import read_bytes

#: The kind of a problem that leaves open whether a image is sound.
UNCHECKED = 'image not checked'


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of a few words, to group by.
        line: Line of the annotation file, or number of the image in a JSON or MAT file, from 1;
            0 where it belongs to none.
        image: The image's ID, '' if unknown.
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
    """What was found: usable records, the sizes of their images by ID, and problems by line."""

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

    Found are: lines that are no JSON or lack a field; tags other than 'person' and 'mask'; boxes
    of negative size or no area; people outside their image; IDs that occur twice; images that
    are missing or cannot be read; remembered sizes that differ from the images'. A JSON or MAT
    file is judged itself, record by record: what a dataset or a metric would refuse in it, and
    whether the sizes it gives are those of the images. Of boxes see
    :func:`~mmdet_lla.datasets.find_box_faults.find_box_faults`.

    Args:
        ann_file: ``.odgt``, or CityPersons' ``.mat``, or ``.json`` of CityPersons or COCO.
        directory: The image directory.
        suffix: Extension added to an ID to find its image.
        decode: Whether to decode every image; only headers are read otherwise, which does not
            find images that break off.
        cache_dir: Where the dataset keeps image sizes, if it was told to.
        workers: Threads that read images.
        box: The box that every annotation must have: 'body', 'visible' or 'head'.

    Raises:
        OSError: The annotation file cannot be read.
        ValueError: It is no text, empty, or a JSON or MAT file of a form that is not known.
    """
    content = read_bytes(ann_file)
    found = Inspection()
    lines: list[int] = []
    said: list[Size | None] = []
    if osp.splitext(ann_file)[1].lower() in ('.mat', '.json'):
        report = ConversionReport()
        for image, record in _coco_records(ann_file, report):
            lines.append(image.number)
            found.records.append(record)
            said.append(None if is_mat(ann_file) else image.size)
        found.problems += [
            Problem(issue.kind, issue.number, issue.image, str(issue)) for issue in report.issues
        ]
    else:
        for number, record in iter_records(content, ann_file):
            problem = _record_problem(number, record, BOXES[box])
            if problem:
                found.problems.append(problem)
            else:
                lines.append(number)
                found.records.append(record)
                said.append(None)
    found.problems += _repeated(found.records, lines)
    names = [record['ID'] for record in found.records]
    paths = locate_images(names, directory, suffix)
    known = _remembered(ann_file, directory, cache_dir, digest(content))
    sizes = _read_all(paths, decode, workers)
    for number, record, path, size, own in zip(
        lines, found.records, paths, sizes, said, strict=True
    ):
        name = record['ID']
        if path is None:
            expected = osp.join(directory, name + suffix)
            found.problems.append(Problem('missing image', number, name, expected))
        elif isinstance(size, ImageReadError):
            kind = UNCHECKED if isinstance(size, ImageTooLargeError) else 'unreadable image'
            found.problems.append(Problem(kind, number, name, str(size)))
        else:
            found.sizes[name] = size
            remembered = {s: table[name] for s, table in known.items() if name in table}
            if own is not None:
                remembered[ann_file] = own
            for source, other in remembered.items():
                if other != size:
                    message = f'{source} has {other}, the image {size}'
                    found.problems.append(Problem('other size remembered', number, name, message))
        size = found.sizes.get(name, own)
        for index, annotation in enumerate(record['gtboxes']):
            for kind, what in find_box_faults(annotation, size):
                found.problems.append(Problem(kind, number, name, f'gtboxes[{index}] {what}'))
    found.problems.sort(key=lambda problem: problem.line)
    return found


def _coco_records(ann_file: str, report: ConversionReport) -> Iterator[tuple[CocoImage, dict]]:
    """Images and records of a JSON or MAT file; a report is told what cannot be used."""
    if is_mat(ann_file):
        return iter_citypersons(open_citypersons(ann_file, report=report), report, ann_file)
    coco = read_coco(ann_file)
    entries = [one for key in ('images', 'annotations') for one in coco[key]]
    if any(isinstance(one, dict) and {'vis_ratio', 'vis_bbox', 'im_name'} & set(one)
           for one in entries):  # fmt: skip
        return iter_citypersons(coco, report, ann_file)
    return iter_coco_person(coco, report=report, where=ann_file)


def _record_problem(number: int, record: dict | OdgtError, key: str) -> Problem | None:
    """What makes a line unusable."""
    if isinstance(record, OdgtError):
        return Problem('bad JSON', number, '', str(record))
    fault = find_record_fault(record, required=(key,))
    if fault is None:
        return None
    name = record.get('ID')
    return Problem('malformed', number, name if isinstance(name, str) else '', fault)


def _repeated(records: Sequence[dict], lines: Sequence[int]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, record in zip(lines, records, strict=True):
        name = record['ID']
        if name in first:
            yield Problem('repeated ID', number, name, f'it is on line {first[name]} already')
        first.setdefault(name, number)


def _read_all(
    paths: Sequence[str | None], decode: bool, workers: int
) -> list[Size | ImageReadError | None]:
    """Size of every image, or why it cannot be read; None for None."""

    def read(path: str | None) -> Size | ImageReadError | None:
        if path is None:
            return None
        try:
            if decode:
                decode_image(path)
            return read_image_size(path)
        except ImageReadError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        return list(
            tqdm(pool.map(read, paths), total=len(paths), desc='images', disable=len(paths) < 100)
        )


def _remembered(
    ann_file: str, directory: str, cache_dir: str | None, fingerprint: str
) -> dict[str, dict[str, Size]]:
    """Sizes by ID from the caches a dataset would use: ours, and mmdet's."""
    found = {}
    for path in cache_files(ann_file, directory, cache_dir):
        sizes = load_cache(path, fingerprint)
        if sizes is not None:
            found[path] = sizes
    for path in sorted(glob.glob(osp.join(glob.escape(osp.dirname(ann_file)), 'id_hw_*.json'))):
        try:
            found[path] = read_size_table(path)
        except (OSError, ValueError):  # no dataset of ours would use it either
            continue
    return found
