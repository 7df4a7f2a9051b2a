"""CrowdHuman's annotation format, ``.odgt``: one JSON object a line, one line a image.

``{"ID": "...", "gtboxes": [{"tag": "person", "fbox": [x, y, w, h], "vbox": [...], "hbox": [...],
"extra": {"ignore": 0, ...}, "head_attr": {"ignore": 0, ...}}, ...]}``, boxes in pixels, ``fbox``
around the body, ``vbox`` around what is seen of it, ``hbox`` around the head. A tag other than
``person`` (in practice ``mask``) or ``extra.ignore`` not 0 marks a region to be ignored.
Source: https://www.crowdhuman.org and arXiv 1805.00123.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping

from .text import AnnotationError, RepeatedKeyError, decode, load_once, replacing

BOX_KEYS = ('fbox', 'vbox', 'hbox')
#: Their names in configs.
BOXES = {'body': 'fbox', 'visible': 'vbox', 'head': 'hbox'}
_NONE: dict = {}
_HUGE = 1e9  # no pixel coordinate; infinity and nan fail the comparison too


class OdgtError(AnnotationError):
    """A line of an annotation file that cannot be used; says which line and why."""


def iter_records(content: bytes, ann_file: str) -> Iterator[tuple[int, dict | OdgtError]]:
    """Yield (line number from 1, record) of every line that is not blank.

    A line that is no record comes as the error that says why; whether the boxes in a record can
    be used is for :func:`read_instances` to say.

    Args:
        content: The annotation file's bytes.
        ann_file: The annotation file, for messages.

    Raises:
        OdgtError: The file is no text, or there is nothing in it.
    """
    try:
        text = decode(content, ann_file)
    except AnnotationError as error:
        raise OdgtError(str(error)) from error
    empty = True
    for number, line in iter_lines(text):
        empty = False
        try:
            record = parse_line(line)
        except OdgtError as error:
            record = error
        yield number, record
    if empty:
        raise OdgtError(f'{ann_file} has no annotations in it')


def read_records(content: bytes, ann_file: str, key: str) -> Iterator[tuple[int, str, list[dict]]]:
    """Yield (line number, ID, instances) of every line; see :func:`read_instances`.

    Raises:
        OdgtError: A line cannot be used; says which and why.
    """
    for number, record in iter_records(content, ann_file):
        try:
            if isinstance(record, OdgtError):
                raise record
            yield number, record_id(record), read_instances(record, key)
        except OdgtError as error:
            raise OdgtError(f'{ann_file}, line {number}: {error}') from error


def record_id(record: Mapping) -> str:
    """ID of a record.

    Raises:
        OdgtError: It has none.
    """
    name = record.get('ID')
    if type(name) is not str or not name:
        raise OdgtError(find_record_fault(record))
    return name


def read_instances(record: Mapping, key: str) -> list[dict]:
    """The boxes of a record, as mmdet wants them; what dataset, metric and statistics go by.

    Args:
        record: One line, parsed.
        key: Which box is meant: 'fbox', 'vbox' or 'hbox'. Heads are also ignored where
            ``head_attr.ignore`` says so, as CrowdHuman's evaluation does.

    Returns:
        list[dict]: Of every annotation ``bbox``, ``bbox_label`` (0, or -1 for ignore regions),
        ``ignore_flag`` and those of ``fbox``, ``vbox``, ``hbox`` that it has, boxes as x1, y1,
        x2, y2; ``visible_ratio`` if the source gives the share itself.

    Raises:
        OdgtError: A field is missing or holds a wrong value.
    """
    try:
        annotations = record['gtboxes']
        if type(annotations) is not list:
            raise TypeError('gtboxes')
        return [_instance(annotation, key) for annotation in annotations]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # Looking for the fault in words is slow, so it is done only where there is one.
        raise OdgtError(find_record_fault(record, required=(key,)) or repr(error)) from error


def visible_ratio(instance: Mapping) -> float:
    """Share of a body that is seen, 0 to 1; NaN where it is unknown.

    It is what the source says (``visible_ratio``), else the area of the visible box by that of the
    body box. Filters, metrics and statistics all take it from here.

    Args:
        instance: As :func:`read_instances` gives it.
    """
    if 'visible_ratio' in instance:
        share = instance['visible_ratio']
    elif 'fbox' in instance and 'vbox' in instance:
        x1, y1, x2, y2 = instance['fbox']
        area = (x2 - x1) * (y2 - y1)
        x1, y1, x2, y2 = instance['vbox']
        share = (x2 - x1) * (y2 - y1) / area if area > 0 else math.nan
    else:
        share = math.nan
    return share if share != share else min(max(float(share), 0.0), 1.0)


def _instance(annotation: dict, key: str) -> dict:
    """One annotation in mmdet's form; anything malformed raises one of Python's own errors."""
    tag, extra = annotation['tag'], annotation.get('extra', _NONE)
    if type(tag) is not str:
        raise TypeError('tag')
    # As is_ignored and is_head_ignored, with both flags looked at whatever the box is.
    body, head = is_flagged(extra), is_flagged(annotation.get('head_attr', _NONE))
    ignored = tag != 'person' or body or (head and key == 'hbox')
    instance = {'bbox_label': -1 if ignored else 0, 'ignore_flag': int(ignored)}
    for name in BOX_KEYS:
        if name in annotation:
            x, y, w, h = annotation[name]
            if not (abs(x) < _HUGE and abs(y) < _HUGE and abs(w) < _HUGE and abs(h) < _HUGE):
                raise ValueError('not finite')  # text has no abs()
            instance[name] = [x, y, x + w, y + h]
    instance['bbox'] = instance[key]
    if 'visibility' in extra:
        share = extra['visibility']
        if isinstance(share, (int, float)) and 0 <= share <= 1:
            instance['visible_ratio'] = share
    return instance


def iter_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of every line of text that is not blank."""
    for number, line in enumerate(text.split('\n'), 1):
        if line and not line.isspace():
            yield number, line


def parse_line(line: str) -> dict:
    """Read one line.

    Raises:
        OdgtError: It is not a JSON object, or one that holds its boxes twice.
    """
    try:
        record = load_once(line, once=('gtboxes',))
    except json.JSONDecodeError as error:
        raise OdgtError(f'not JSON: {error.msg} at column {error.colno}') from error
    except RepeatedKeyError as error:
        raise OdgtError(str(error)) from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of 5,000 digits
        raise OdgtError(f'JSON that cannot be read: {error}') from error
    if not isinstance(record, dict):
        raise OdgtError(f'a JSON object was expected, got {_kind(record)}')
    return record


def find_record_fault(record: dict, required: Iterable[str] = ('fbox',)) -> str | None:
    """Say what makes a record unusable; None if nothing does.

    Only form is judged (fields, types, finite numbers), not whether boxes make sense.

    Args:
        record: One line, parsed.
        required: Boxes that every annotation must have.
    """
    if 'ID' not in record:
        return "field 'ID' is missing"
    if not isinstance(record['ID'], str) or not record['ID']:
        return f"'ID' must be a string that is not empty, got {record['ID']!r}"
    if 'gtboxes' not in record:
        return "field 'gtboxes' is missing"
    if not isinstance(record['gtboxes'], list):
        return f"'gtboxes' must be a list, got {_kind(record['gtboxes'])}"
    for index, annotation in enumerate(record['gtboxes']):
        fault = _annotation_fault(annotation, tuple(required))
        if fault:
            return f'gtboxes[{index}]: {fault}'
    return None


def is_flagged(owner: Mapping, key: str = 'ignore') -> bool:
    """Whether a flag is set: any number but 0. Absent, it is not.

    Raises:
        ValueError: It is no number, such as the text '0'.
    """
    value = owner.get(key, 0)
    if value == 0:
        return False
    if not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise ValueError(f'{key!r} must be a number, 0 if it is not set, got {value!r}')
    return True


def is_ignored(annotation: Mapping) -> bool:
    """Whether a body annotation is a region to be ignored rather than a person."""
    flagged = 'extra' in annotation and is_flagged(annotation['extra'])
    return flagged or annotation['tag'] != 'person'


def is_head_ignored(annotation: Mapping) -> bool:
    """Whether a head is to be ignored: its body is, or its own attribute says so."""
    flagged = 'head_attr' in annotation and is_flagged(annotation['head_attr'])
    return flagged or is_ignored(annotation)


def is_box(value: object) -> bool:
    """Whether a value is four finite numbers that may be pixels."""
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(v, (int, float)) and abs(v) < _HUGE for v in value)
    )


def make_annotation(
    fbox: Iterable[float], vbox: Iterable[float] | None = None, ignore: bool = False
) -> dict:
    """An entry of ``gtboxes`` for a source that has no head boxes.

    The head box, which readers expect to find, repeats the visible box and is marked as ignored.

    Args:
        fbox: Body box x, y, w, h in pixels.
        vbox: Visible part, same form; the body box if None.
        ignore: Whether this is a region to be ignored.
    """
    fbox = [_plain(value) for value in fbox]
    vbox = fbox if vbox is None else [_plain(value) for value in vbox]
    return {
        'tag': 'mask' if ignore else 'person',
        'fbox': fbox,
        'vbox': vbox,
        'hbox': vbox,
        'extra': {'ignore': int(ignore)},
        'head_attr': {'ignore': 1},
    }


def write_odgt(records: Iterable[dict], path: str) -> int:
    """Write records, one a line, into a file that appears only when complete.

    Returns:
        int: How many were written.
    """
    count = 0
    with replacing(path) as file:
        for record in records:
            file.write(json.dumps(record) + '\n')
            count += 1
    return count


def _annotation_fault(annotation: object, required: tuple[str, ...]) -> str | None:
    if not isinstance(annotation, dict):
        return f'a JSON object was expected, got {_kind(annotation)}'
    if not isinstance(annotation.get('tag'), str):
        return f"'tag' must be a string, got {annotation.get('tag')!r}"
    for key in BOX_KEYS:
        if key not in annotation:
            if key in required:
                return f'{key!r} is missing'
            continue
        box = annotation[key]
        if not is_box(box):
            return f'{key!r} must be four finite numbers x, y, w, h, got {box!r}'
    for key in ('extra', 'head_attr'):
        if not isinstance(annotation.get(key, {}), dict):
            return f'{key!r} must be a JSON object, got {_kind(annotation[key])}'
        try:
            is_flagged(annotation.get(key, {}))
        except ValueError as error:
            return f'{key}: {error}'
    return None


def _kind(value: object) -> str:
    return type(value).__name__


def _plain(value: float) -> int | float:
    """A JSON number without needless digits: 3 rather than 3.0."""
    value = round(float(value), 3)
    return int(value) if value.is_integer() else value
