"""MOTChallenge sequences (MOT15 to MOT20), MOTSynth, and CVAT's export in that form.

A sequence is a directory with the images (``img1``), ``gt/gt.txt`` and perhaps ``seqinfo.ini`` and
``gt/labels.txt``, the class names. Lines of ``gt.txt``: frame, track, x, y, w, h, whether to
consider it, and then class and visibility (9 columns), class, visibility and world coordinates
(12, MOTSynth), or world coordinates alone (10, MOT15), or nothing (7). Frames and coordinates
count from 1.
Sources: https://motchallenge.net/instructions, arXiv 1603.00831; arXiv 2108.09518 (MOTSynth);
documentation of CVAT and Datumaro of the MOT format (``labels.txt``).
"""

from __future__ import annotations

import configparser
import os
import os.path as osp
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..image_paths import IMG_EXTENSIONS, to_img_id
from ..image_sizes import Size, read_image_size
from ..odgt import is_box, make_annotation
from ..report import ConversionReport, StrictReport
from ..text import AnnotationError, read_text
from .writing import make_valid_record

#: By number in gt.txt, from 1.
_CLASSES = (
    'pedestrian', 'person_on_vehicle', 'car', 'bicycle', 'motorbike', 'non_mot_vehicle',
    'static_person', 'distractor', 'occluder', 'occluder_on_the_ground', 'occluder_full',
    'reflection', 'crowd',
)  # fmt: skip
_PEOPLE = ('pedestrian', 'person')
# Neither counted nor penalized by the benchmark; MOT20 adds the crowd.
_IGNORED = ('person_on_vehicle', 'static_person', 'distractor', 'reflection', 'crowd')
_WITH_CLASS = (9, 12)
_WITHOUT_CLASS = (7, 10)


class _Sequence(NamedTuple):
    """Images of a sequence.

    Attributes:
        directory: Their directory.
        names: File names by frame.
        length: Number of annotated frames; None if ``seqinfo.ini`` does not give it.
        size: (height, width) of every image.
    """

    directory: str
    names: dict[int, str]
    length: int | None
    size: Size


def mot_records(
    sequence: str,
    root: str | None = None,
    every: int = 1,
    min_visibility: float = 0.0,
    report: ConversionReport | None = None,
) -> Iterator[dict]:
    """Yield the records of the existing images of one sequence.

    Pedestrians become people; pedestrians not to be considered, people on vehicles, static
    people, distractors, reflections and crowds become ignore regions; vehicles and occluders are
    skipped. The visible fraction becomes ``extra.visibility``; the position of the visible part is
    not annotated, so ``vbox`` repeats ``fbox``.

    Args:
        sequence: Directory of the sequence.
        root: Directory that IDs start from, to be used as ``data_prefix``; the sequence's parent if
            None.
        every: Take every n-th frame, the first included.
        min_visibility: Less visible pedestrians become ignore regions.
        report: Receives skipped and invalid rows; by default the first invalid one raises.

    Raises:
        FileNotFoundError: No ``gt/gt.txt`` or no images.
        AnnotationError: ``seqinfo.ini`` cannot be read, or a strict report raises.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    report = report or StrictReport()
    boxes = _read_boxes(sequence, min_visibility, report)
    images = _find_images(sequence, report)
    root = osp.dirname(osp.abspath(sequence)) if root is None else root
    prefix = osp.relpath(osp.abspath(images.directory), root).replace(os.sep, '/')
    frames = sorted(images.names)
    if images.length is not None:
        inside = [frame for frame in frames if 0 < frame <= images.length]
        absent = images.length - len(inside)
        frames = [frame for frame in frames if frame in boxes or 0 < frame <= images.length]
        beyond = len(images.names) - len(frames)
        for reason, count in (('beyond seqLength', beyond), ('that do not exist', absent)):
            if count:
                report.skipped_images[reason] += count
    for frame in frames:
        rows = boxes.pop(frame, [])
        if (frame - frames[0]) % every:
            report.skip(f'in frames that are not taken (1 of {every} is)', len(rows))
            continue
        img_id = to_img_id(f'{prefix}/{images.names[frame]}')
        annotations, places = [box for _, box in rows], [place for place, _ in rows]
        yield make_valid_record(img_id, annotations, places, images.size, report)
    for frame, rows in sorted(boxes.items()):
        for place, _ in rows:
            reason = f'frame {frame} has no image in {images.directory}'
            report.reject(place, reason, kind='missing image')


def _find_images(sequence: str, report: ConversionReport) -> _Sequence:
    """Find the images of a sequence, with or without ``seqinfo.ini``."""
    info = _read_info(osp.join(sequence, 'seqinfo.ini'))
    directory = osp.join(sequence, info.get('imdir') or 'img1')
    entries = os.listdir(directory) if osp.isdir(directory) else []
    extensions = (info['imext'].lower(),) if info.get('imext') else IMG_EXTENSIONS
    images = [entry for entry in entries if entry.lower().endswith(extensions)]
    if not images:
        raise FileNotFoundError(
            f'no images ({", ".join(extensions)}) in {directory}; their names are needed for IDs'
        )
    if 'imheight' in info and 'imwidth' in info:
        size = (int(info['imheight']), int(info['imwidth']))
    else:
        size = read_image_size(osp.join(directory, images[0]))
    length = int(info['seqlength']) if 'seqlength' in info else None
    return _Sequence(directory, _number_images(images, directory, report), length, size)


def _read_info(path: str) -> Mapping[str, str]:
    """Return the fields of ``seqinfo.ini``; empty if there is none."""
    if not osp.isfile(path):
        return {}
    parser = configparser.ConfigParser(inline_comment_prefixes=(';', '#'), interpolation=None)
    try:
        parser.read_string(read_text(path))
        info = parser['Sequence']
    except (configparser.Error, KeyError) as error:
        raise AnnotationError(f'{path}: a section [Sequence] was expected: {error}') from error
    for key in ('seqlength', 'imheight', 'imwidth'):
        if key in info and (not info[key].isdecimal() or not int(info[key])):
            raise AnnotationError(
                f'{path}: {key} must be a whole number above 0, got {info[key]!r}'
            )
    return info


def _number_images(images: list[str], directory: str, report: ConversionReport) -> dict[int, str]:
    """Return names by frame: by their numbers, or else in natural order as CVAT numbers them."""
    stems = [osp.splitext(name)[0] for name in images]
    if all(stem.isdecimal() for stem in stems):
        names = dict(zip(map(int, stems), images, strict=True))
        if len(names) < len(images):
            raise AnnotationError(f'{directory}: two images have the number of one frame')
        return names
    report.warn(
        directory,
        'names of images are not frame numbers; they are taken in order, as CVAT does',
        kind='unusual name',
    )

    def get_natural_key(name: str) -> list:
        return [(not part.isdecimal(), int(part) if part.isdecimal() else part)
                for part in re.split(r'(\d+)', name)]  # fmt: skip

    return dict(enumerate(sorted(images, key=get_natural_key), 1))


def _read_boxes(
    sequence: str, min_visibility: float, report: ConversionReport
) -> dict[int, list[tuple[str, dict]]]:
    """Return (position in the file, annotation) by frame."""
    path = osp.join(sequence, 'gt', 'gt.txt')
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'{path} does not exist; is this a MOTChallenge sequence (seqinfo.ini, gt/gt.txt, '
            'img1)?'
        )
    classes = _read_class_names(osp.join(sequence, 'gt', 'labels.txt'))
    boxes = defaultdict(list)
    for number, line in enumerate(read_text(path).split('\n'), 1):
        if not line.strip():
            continue
        report.read += 1
        place = f'{path}, line {number}'
        try:
            frame, box, name, considered, visibility = _parse_row(line.split(','), classes)
        except ValueError as error:
            report.reject(place, str(error))
            continue
        if name not in _PEOPLE + _IGNORED:
            report.skip(f'of class {name}')
            continue
        hidden = visibility is not None and visibility < min_visibility
        annotation = make_annotation(box, ignore=name in _IGNORED or not considered or hidden)
        if visibility is not None:
            annotation['extra']['visibility'] = visibility
        boxes[frame].append((place, annotation))
    return boxes


def _read_class_names(path: str) -> dict[int, str]:
    """Return class names by number, from ``labels.txt`` if it exists."""
    names = list(_CLASSES)
    if osp.isfile(path):
        lines = read_text(path).strip().split('\n')
        names = [line.split(',')[0].strip().lower().replace(' ', '_') for line in lines]
        if not set(names) & {*_PEOPLE}:
            raise AnnotationError(
                f'{path}: a class named {" or ".join(_PEOPLE)} was expected, found {names}'
            )
    return dict(enumerate(names, 1))


def _parse_row(
    row: list[str], classes: dict[int, str]
) -> tuple[int, list[float], str, bool, float | None]:
    """Return frame, box from 0, class, whether to consider it, and visible fraction of a row.

    Raises:
        ValueError: It is invalid.
    """
    if len(row) not in _WITH_CLASS + _WITHOUT_CLASS:
        raise ValueError(
            f'{len(row)} columns, expected 9 (MOT16 to MOT20), 12 (MOTSynth), 10 or 7 (MOT15)'
        )
    frame, _, x, y, w, h, considered = (float(value) for value in row[:7])
    if not frame.is_integer():
        raise ValueError(f'frame must be a whole number, got {row[0]}')
    box = [x - 1, y - 1, w, h]
    if not is_box(box):
        raise ValueError(f'x, y, w, h must be finite numbers, got {",".join(row[2:6])}')
    if len(row) in _WITHOUT_CLASS:
        return int(frame), box, _PEOPLE[0], considered != 0, None
    kind, visibility = float(row[7]), float(row[8])
    if kind not in classes:
        raise ValueError(f'class must be one of 1 to {len(classes)}, got {row[7]}')
    if visibility != -1 and not 0 <= visibility <= 1:
        raise ValueError(f'visibility must be 0 to 1, or -1 if it is unknown, got {row[8]}')
    return int(frame), box, classes[kind], considered != 0, None if visibility < 0 else visibility
