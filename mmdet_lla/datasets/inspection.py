"""Everything that is wrong with an annotation file and its pictures, found before a training."""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

from .box_faults import box_faults
from .coco_json import CocoPicture, read_coco
from .converters.citypersons import citypersons_pictures, is_mat, open_citypersons
from .converters.coco_person import coco_person_pictures
from .image_sizes import (
    PictureError,
    PictureTooLarge,
    Size,
    cache_files,
    decode_picture,
    digest,
    load_cache,
    locate_pictures,
    picture_size,
    read_size_table,
)
from .odgt import BOXES, OdgtError, iter_records, record_fault
from .tally import Tally
from .text import read_bytes

#: The kind of a problem that leaves open whether a picture is sound.
UNCHECKED = 'picture not checked'


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of a few words, to group by.
        line: Line of the annotation file, or number of the picture in a JSON or MAT file, from 1;
            0 where it belongs to none.
        picture: The picture's ID, '' if unknown.
        message: What is wrong.
    """

    kind: str
    line: int
    picture: str
    message: str

    def __str__(self) -> str:
        name = f' {self.picture}' if self.picture else ''
        place = f'line {self.line}{name}: ' if self.line else ''
        return f'{place}{self.kind}: {self.message}'


@dataclass
class Inspection:
    """What was found: usable records, the sizes of their pictures by ID, and problems by line."""

    records: list[dict] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def inspect_dataset(
    ann_file: str,
    folder: str,
    suffix: str = '.jpg',
    decode: bool = True,
    cache_dir: str | None = None,
    workers: int = 8,
    box: str = 'body',
) -> Inspection:
    """Check an annotation file and its pictures.

    Found are: lines that are no JSON or lack a field; tags other than 'person' and 'mask'; boxes
    of negative size or no area; people outside their picture; IDs that occur twice; pictures that
    are missing or cannot be read; remembered sizes that differ from the pictures'. A JSON or MAT
    file is judged itself, record by record: what a dataset or a metric would refuse in it, and
    whether the sizes it gives are those of the pictures. Of boxes see
    :func:`~mmdet_lla.datasets.box_faults.box_faults`.

    Args:
        ann_file: ``.odgt``, or CityPersons' ``.mat``, or ``.json`` of CityPersons or COCO.
        folder: The picture folder.
        suffix: Extension added to an ID to find its picture.
        decode: Whether to decode every picture; only headers are read otherwise, which does not
            find pictures that break off.
        cache_dir: Where the dataset keeps picture sizes, if it was told to.
        workers: Threads that read pictures.
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
        tally = Tally()
        for picture, record in _coco_records(ann_file, tally):
            lines.append(picture.number)
            found.records.append(record)
            said.append(None if is_mat(ann_file) else picture.size)
        found.problems += [
            Problem(loss.kind, loss.number, loss.picture, str(loss)) for loss in tally.losses
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
    paths = locate_pictures(names, folder, suffix)
    known = _remembered(ann_file, folder, cache_dir, digest(content))
    sizes = _read_all(paths, decode, workers)
    for number, record, path, size, own in zip(
        lines, found.records, paths, sizes, said, strict=True
    ):
        name = record['ID']
        if path is None:
            expected = osp.join(folder, name + suffix)
            found.problems.append(Problem('missing picture', number, name, expected))
        elif isinstance(size, PictureError):
            kind = UNCHECKED if isinstance(size, PictureTooLarge) else 'unreadable picture'
            found.problems.append(Problem(kind, number, name, str(size)))
        else:
            found.sizes[name] = size
            remembered = {s: table[name] for s, table in known.items() if name in table}
            if own is not None:
                remembered[ann_file] = own
            for source, other in remembered.items():
                if other != size:
                    message = f'{source} has {other}, the picture {size}'
                    found.problems.append(Problem('other size remembered', number, name, message))
        size = found.sizes.get(name, own)
        for index, annotation in enumerate(record['gtboxes']):
            for kind, what in box_faults(annotation, size):
                found.problems.append(Problem(kind, number, name, f'gtboxes[{index}] {what}'))
    found.problems.sort(key=lambda problem: problem.line)
    return found


def _coco_records(ann_file: str, tally: Tally) -> Iterator[tuple[CocoPicture, dict]]:
    """Pictures and records of a JSON or MAT file; a tally is told what cannot be used."""
    if is_mat(ann_file):
        return citypersons_pictures(open_citypersons(ann_file, tally=tally), tally, ann_file)
    coco = read_coco(ann_file)
    entries = [one for key in ('images', 'annotations') for one in coco[key]]
    if any(isinstance(one, dict) and {'vis_ratio', 'vis_bbox', 'im_name'} & set(one)
           for one in entries):  # fmt: skip
        return citypersons_pictures(coco, tally, ann_file)
    return coco_person_pictures(coco, tally=tally, where=ann_file)


def _record_problem(number: int, record: dict | OdgtError, key: str) -> Problem | None:
    """What makes a line unusable."""
    if isinstance(record, OdgtError):
        return Problem('bad JSON', number, '', str(record))
    fault = record_fault(record, required=(key,))
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
) -> list[Size | PictureError | None]:
    """Size of every picture, or why it cannot be read; None for None."""

    def read(path: str | None) -> Size | PictureError | None:
        if path is None:
            return None
        try:
            if decode:
                decode_picture(path)
            return picture_size(path)
        except PictureError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        return list(
            tqdm(pool.map(read, paths), total=len(paths), desc='pictures', disable=len(paths) < 100)
        )


def _remembered(
    ann_file: str, folder: str, cache_dir: str | None, fingerprint: str
) -> dict[str, dict[str, Size]]:
    """Sizes by ID from the caches a dataset would use: ours, and mmdet's."""
    found = {}
    for path in cache_files(ann_file, folder, cache_dir):
        sizes = load_cache(path, fingerprint)
        if sizes is not None:
            found[path] = sizes
    for path in sorted(glob.glob(osp.join(glob.escape(osp.dirname(ann_file)), 'id_hw_*.json'))):
        try:
            found[path] = read_size_table(path)
        except (OSError, ValueError):  # no dataset of ours would use it either
            continue
    return found
