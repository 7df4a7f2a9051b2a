"""Everything that is wrong with an annotation file and its pictures, found before a training."""

from __future__ import annotations

import glob
import json
import os.path as osp
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image
from tqdm import tqdm

from .converters import citypersons_records, coco_person_records, mat_to_coco
from .image_sizes import Size, cache_files, digest, load_cache, locate_pictures, picture_size
from .odgt import OdgtError, is_head_ignored, is_ignored, iter_lines, parse_line, record_fault

_TAGS = ('person', 'mask')


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of a few words, to group by.
        line: Line of the annotation file, or number of the picture in a JSON or MAT file, from 1.
        picture: The picture's ID, '' if unknown.
        message: What is wrong.
    """

    kind: str
    line: int
    picture: str
    message: str

    def __str__(self) -> str:
        name = f' {self.picture}' if self.picture else ''
        return f'line {self.line}{name}: {self.kind}: {self.message}'


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
) -> Inspection:
    """Check an annotation file and its pictures.

    Found are: lines that are no JSON or lack a field; tags other than 'person' and 'mask'; boxes
    of negative size or no area; people outside their picture; IDs that occur twice; pictures that
    are missing or cannot be read; remembered sizes that differ from the pictures'. Boxes that
    reach beyond the picture are no problem: in CrowdHuman the body of a person cut off by the
    border goes on outside, and the head may lie there. Nor is anything wrong with the visible and
    head boxes of what is to be ignored.

    Args:
        ann_file: ``.odgt``, or CityPersons' ``.mat``, or ``.json`` of CityPersons or COCO.
        folder: The picture folder.
        suffix: Extension added to an ID to find its picture.
        decode: Whether to decode every picture; only headers are read otherwise, which does not
            find pictures that break off.
        cache_dir: Where the dataset keeps picture sizes, if it was told to.
        workers: Threads that read pictures.

    Raises:
        OSError: The annotation file cannot be read.
        ValueError: A JSON or MAT file of a form that is not known.
    """
    with open(ann_file, 'rb') as file:
        content = file.read()
    found = Inspection()
    lines: list[int] = []
    for number, entry in _entries(ann_file, content):
        if isinstance(entry, Problem):
            found.problems.append(entry)
        else:
            lines.append(number)
            found.records.append(entry)
    found.problems += _repeated(found.records, lines)
    names = [record['ID'] for record in found.records]
    paths = locate_pictures(names, folder, suffix)
    known = _remembered(ann_file, folder, cache_dir, digest(content))
    sizes = _read_all(paths, decode, workers)
    for number, record, path, size in zip(lines, found.records, paths, sizes, strict=True):
        name = record['ID']
        if path is None:
            expected = osp.join(folder, name + suffix)
            found.problems.append(Problem('missing picture', number, name, expected))
        elif isinstance(size, str):
            found.problems.append(Problem('unreadable picture', number, name, f'{path}: {size}'))
        else:
            found.sizes[name] = size
            for source, remembered in known.items():
                if name in remembered and tuple(remembered[name]) != size:
                    message = f'{source} has {tuple(remembered[name])}, the picture {size}'
                    found.problems.append(Problem('other size remembered', number, name, message))
        found.problems += _box_problems(number, record, found.sizes.get(name))
    found.problems.sort(key=lambda problem: problem.line)
    return found


def _entries(ann_file: str, content: bytes) -> Iterator[tuple[int, dict | Problem]]:
    """Yield (number, record or what is wrong with it)."""
    extension = osp.splitext(ann_file)[1].lower()
    if extension in ('.mat', '.json'):
        yield from enumerate(_converted(ann_file, content, extension), 1)
    else:
        for number, line in iter_lines(content.decode('utf-8-sig')):
            try:
                record = parse_line(line)
            except OdgtError as error:
                yield number, Problem('bad JSON', number, '', str(error))
                continue
            fault = record_fault(record)
            if fault:
                name = record.get('ID')
                yield (
                    number,
                    Problem('malformed', number, name if isinstance(name, str) else '', fault),
                )
            else:
                yield number, record


def _converted(ann_file: str, content: bytes, extension: str) -> list[dict]:
    """Records of a JSON or MAT file."""
    if extension == '.mat':
        return list(citypersons_records(mat_to_coco(ann_file)))
    coco = json.loads(content)
    if not isinstance(coco, dict) or not {'images', 'annotations'} <= set(coco):
        raise ValueError("'images' and 'annotations' were expected")
    try:
        if any('vis_ratio' in annotation for annotation in coco['annotations']):
            return list(citypersons_records(coco))
        return list(coco_person_records(coco))
    except (KeyError, TypeError) as error:
        raise ValueError(f'not in the form of COCO or CityPersons ({error!r})') from error


def _repeated(records: Sequence[dict], lines: Sequence[int]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, record in zip(lines, records, strict=True):
        name = record['ID']
        if name in first:
            yield Problem('repeated ID', number, name, f'it is on line {first[name]} already')
        first.setdefault(name, number)


def _box_problems(number: int, record: dict, size: Size | None) -> Iterator[Problem]:
    """Faults of one picture's boxes; whether they lie in it only if its size is known."""
    for index, annotation in enumerate(record['gtboxes']):
        if annotation['tag'] not in _TAGS:
            message = f"gtboxes[{index}] has tag {annotation['tag']!r}, not 'person' or 'mask'"
            yield Problem('wrong tag', number, record['ID'], message)
        ignored = is_ignored(annotation)
        checked = ['fbox']
        if not ignored:
            checked.append('vbox')
        if not is_head_ignored(annotation):
            checked.append('hbox')
        for key in checked:
            if key not in annotation:
                continue
            x, y, w, h = annotation[key]
            kind = None
            if w < 0 or h < 0:
                kind = 'negative size'
            elif w == 0 or h == 0:
                kind = 'no area'
            elif size and not ignored and key != 'hbox' and _is_outside(annotation[key], size):
                kind = 'outside the picture'
            if kind:
                message = f'gtboxes[{index}] {key} {annotation[key]}'
                if kind == 'outside the picture':
                    message += f', picture {size[1]} x {size[0]}'
                yield Problem(kind, number, record['ID'], message)


def _is_outside(box: Sequence[float], size: Size) -> bool:
    x, y, w, h = box
    return x >= size[1] or y >= size[0] or x + w <= 0 or y + h <= 0


def _read_all(paths: Sequence[str | None], decode: bool, workers: int) -> list[Size | str | None]:
    """Size of every picture, or why it cannot be read; None for None."""

    def read(path: str | None) -> Size | str | None:
        if path is None:
            return None
        try:
            if decode:
                with Image.open(path) as image:
                    image.load()
            return picture_size(path)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's ways of refusing a file
            return str(error)

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
            with open(path, encoding='utf-8') as file:
                sizes = json.load(file)
        except (OSError, ValueError):  # no dataset of ours would use it either
            continue
        if isinstance(sizes, dict):
            found[path] = sizes
    return found
