"""CrowdHuman's annotation format, ``.odgt``: one JSON object a line, one line a picture.

``{"ID": "...", "gtboxes": [{"tag": "person", "fbox": [x, y, w, h], "vbox": [...], "hbox": [...],
"extra": {"ignore": 0, ...}, "head_attr": {"ignore": 0, ...}}, ...]}``, boxes in pixels, ``fbox``
around the body, ``vbox`` around what is seen of it, ``hbox`` around the head. A tag other than
``person`` (in practice ``mask``) or ``extra.ignore`` not 0 marks a region to be ignored.
Source: https://www.crowdhuman.org and arXiv 1805.00123.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

BOX_KEYS = ('fbox', 'vbox', 'hbox')
_HUGE = 1e9  # no pixel coordinate; infinity and nan fail the comparison too


class OdgtError(ValueError):
    """A line of an annotation file that cannot be used; says which line and why."""


def iter_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of every line that is not blank."""
    for number, line in enumerate(text.split('\n'), 1):
        if line and not line.isspace():
            yield number, line


def parse_line(line: str) -> dict:
    """Read one line.

    Raises:
        OdgtError: It is not a JSON object, or one that holds its boxes twice.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise OdgtError(f'not JSON: {error.msg} at column {error.colno}') from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of 5,000 digits
        raise OdgtError(f'JSON that cannot be read: {error}') from error
    if not isinstance(record, dict):
        raise OdgtError(f'a JSON object was expected, got {_kind(record)}')
    if line.count('"gtboxes"') > 1:  # json would keep the last, and lose boxes without a word
        json.loads(line, object_pairs_hook=_refuse_repeated)
    return record


def record_fault(record: dict, required: Iterable[str] = ('fbox',)) -> str | None:
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


def is_ignored(annotation: dict) -> bool:
    """Whether a body annotation is a region to be ignored rather than a person."""
    return annotation['tag'] != 'person' or annotation.get('extra', {}).get('ignore', 0) != 0


def is_head_ignored(annotation: dict) -> bool:
    """Whether a head is to be ignored: its body is, or its own attribute says so."""
    return is_ignored(annotation) or annotation.get('head_attr', {}).get('ignore', 0) != 0


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
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    part = f'{path}.{os.getpid()}.part'
    count = 0
    try:
        with open(part, 'w', encoding='utf-8') as file:
            for record in records:
                file.write(json.dumps(record) + '\n')
                count += 1
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
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
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(isinstance(v, (int, float)) and abs(v) < _HUGE for v in box)
        ):
            return f'{key!r} must be four finite numbers x, y, w, h, got {box!r}'
    for key in ('extra', 'head_attr'):
        if not isinstance(annotation.get(key, {}), dict):
            return f'{key!r} must be a JSON object, got {_kind(annotation[key])}'
    return None


def _refuse_repeated(pairs: list[tuple[str, object]]) -> dict:
    names = [name for name, _ in pairs]
    if names.count('gtboxes') > 1:
        raise OdgtError("field 'gtboxes' occurs more than once")
    return dict(pairs)


def _kind(value: object) -> str:
    return type(value).__name__


def _plain(value: float) -> int | float:
    """A JSON number without needless digits: 3 rather than 3.0."""
    value = round(float(value), 3)
    return int(value) if value.is_integer() else value
