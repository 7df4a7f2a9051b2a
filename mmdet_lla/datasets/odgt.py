"""CrowdHuman's annotation format ``.odgt``: one JSON object per line, one line per image.

``{"ID": "...", "gtboxes": [{"tag": "person", "fbox": [x, y, w, h], "vbox": [...], "hbox": [...],
"extra": {"ignore": 0, ...}, "head_attr": {"ignore": 0, ...}}, ...]}``, boxes in pixels: ``fbox``
around the body, ``vbox`` around its visible part, ``hbox`` around the head. A tag other than
``person`` (in practice ``mask``) or an ``extra.ignore`` other than 0 marks an ignore region.
Source: https://www.crowdhuman.org and arXiv 1805.00123.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .text import AnnotationError, decode, load_once, open_output

BOX_KEYS = ('fbox', 'vbox', 'hbox')
#: Their names in configs.
BOXES = {'body': 'fbox', 'visible': 'vbox', 'head': 'hbox'}
_HUGE = 1e9  # beyond any pixel coordinate; infinity and NaN fail the comparison too


class OdgtError(AnnotationError):
    """A line of an annotation file that cannot be used; names line and reason."""


def iter_records(content: bytes, ann_file: str) -> Iterator[tuple[int, dict | OdgtError]]:
    """Yield (line number from 1, record) of every line that is not blank.

    A line that holds no record yields the error instead.

    >>> list(iter_records(b'{"ID": "a"}', 'a.odgt'))
    [(1, {'ID': 'a'})]

    Raises:
        OdgtError: The file is no text, or empty.
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
        OdgtError: A line cannot be used; names line and reason.
    """
    for number, record in iter_records(content, ann_file):
        try:
            if isinstance(record, OdgtError):
                raise record
            yield number, read_img_id(record), read_instances(record, key)
        except OdgtError as error:
            raise OdgtError(f'{ann_file}, line {number}: {error}') from error


def read_img_id(record: Mapping) -> str:
    """Return the ID of a record.

    Raises:
        OdgtError: It has none.
    """
    if 'ID' not in record:
        raise OdgtError("field 'ID' is missing")
    if not isinstance(record['ID'], str) or not record['ID']:
        raise OdgtError(f"'ID' must be a string that is not empty, got {record['ID']!r}")
    return record['ID']


def read_instances(record: Mapping, key: str = 'fbox') -> list[dict]:
    """Return the boxes of a record in mmdet's form, for dataset, metric and statistics.

    >>> record = {'ID': 'a', 'gtboxes': [{'tag': 'person', 'fbox': [10, 5, 20, 50]}]}
    >>> [instance['bbox'] for instance in read_instances(record)]
    [[10, 5, 30, 55]]

    Args:
        record: One parsed line.
        key: Which box is meant: 'fbox', 'vbox' or 'hbox'. Heads are also ignored where
            ``head_attr.ignore`` is set, as in CrowdHuman's evaluation.

    Returns:
        list[dict]: Of every annotation ``bbox``, ``bbox_label`` (0, or -1 for ignore regions),
        ``ignore_flag`` and those of ``fbox``, ``vbox``, ``hbox`` that it has, boxes as x1, y1,
        x2, y2; ``visible_ratio`` if the source gives it.

    Raises:
        OdgtError: A field is missing or holds a wrong value.
    """
    if 'gtboxes' not in record:
        raise OdgtError("field 'gtboxes' is missing")
    annotations = record['gtboxes']
    if not isinstance(annotations, list):
        raise OdgtError(f"'gtboxes' must be a list, got {_kind(annotations)}")
    instances = []
    for index, annotation in enumerate(annotations):
        try:
            instances.append(_read_instance(annotation, key))
        except ValueError as error:
            raise OdgtError(f'gtboxes[{index}]: {error}') from error
    return instances


def find_record_fault(record: Mapping, key: str = 'fbox') -> str | None:
    """Return what makes a record unusable; None if nothing does.

    Only the form is checked (fields, types, finite numbers), not whether boxes make sense.

    >>> find_record_fault({'ID': 'a', 'gtboxes': [{'tag': 'person'}]})
    "gtboxes[0]: 'fbox' is missing"
    """
    try:
        read_img_id(record)
        read_instances(record, key)
    except OdgtError as error:
        return str(error)
    return None


def _read_instance(annotation: object, key: str) -> dict:
    """Return one annotation in mmdet's form; raise ValueError if it is malformed."""
    if not isinstance(annotation, dict):
        raise ValueError(f'a JSON object was expected, got {_kind(annotation)}')
    tag = annotation.get('tag')
    if not isinstance(tag, str):
        raise ValueError(f"'tag' must be a string, got {tag!r}")
    instance: dict = {}
    for name in BOX_KEYS:
        if name in annotation:
            if not is_box(annotation[name]):
                raise ValueError(
                    f'{name!r} must be four finite numbers x, y, w, h, got {annotation[name]!r}'
                )
            instance[name] = xywh_to_xyxy(annotation[name])
        elif name == key:
            raise ValueError(f'{name!r} is missing')
    # As is_ignored and is_head_ignored, but both flags are checked for every box.
    body, head = _read_flag(annotation, 'extra'), _read_flag(annotation, 'head_attr')
    ignored = tag != 'person' or body or (head and key == 'hbox')
    instance.update(bbox_label=-1 if ignored else 0, ignore_flag=int(ignored), bbox=instance[key])
    ratio = annotation.get('extra', {}).get('visibility')
    if isinstance(ratio, (int, float)) and 0 <= ratio <= 1:
        instance['visible_ratio'] = ratio
    return instance


def _read_flag(annotation: Mapping, owner: str) -> bool:
    value = annotation.get(owner, {})
    if not isinstance(value, dict):
        raise ValueError(f'{owner!r} must be a JSON object, got {_kind(value)}')
    try:
        return is_flagged(value)
    except ValueError as error:
        raise ValueError(f'{owner}: {error}') from error


def visible_ratio(instance: Mapping) -> float:
    """Return the visible fraction of a body, 0 to 1; NaN if unknown.

    It is what the source gives (``visible_ratio``), else the area of the visible box divided by
    that of the body box. Filters, metrics and statistics use this function.

    >>> visible_ratio({'fbox': [0, 0, 10, 40], 'vbox': [0, 0, 10, 10]})
    0.25

    Args:
        instance: One of :func:`read_instances`.
    """
    ratio = math.nan
    if 'visible_ratio' in instance:
        ratio = instance['visible_ratio']
    elif 'fbox' in instance and 'vbox' in instance:
        x1, y1, x2, y2 = instance['fbox']
        area = (x2 - x1) * (y2 - y1)
        x1, y1, x2, y2 = instance['vbox']
        ratio = (x2 - x1) * (y2 - y1) / area if area > 0 else math.nan
    return ratio if math.isnan(ratio) else min(max(float(ratio), 0.0), 1.0)


def iter_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of every line of text that is not blank.

    >>> list(iter_lines('a\\n\\nb'))
    [(1, 'a'), (3, 'b')]
    """
    for number, line in enumerate(text.split('\n'), 1):
        if line and not line.isspace():
            yield number, line


def parse_line(line: str) -> dict:
    """Parse one line.

    >>> parse_line('{"ID": "a", "gtboxes": []}')
    {'ID': 'a', 'gtboxes': []}

    Raises:
        OdgtError: It is no JSON object, or one that holds its boxes twice.
    """
    try:
        record = load_once(line, once=('gtboxes',))
    except json.JSONDecodeError as error:
        raise OdgtError(f'not JSON: {error.msg} at column {error.colno}') from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of 5,000 digits
        raise OdgtError(str(error)) from error
    if not isinstance(record, dict):
        raise OdgtError(f'a JSON object was expected, got {_kind(record)}')
    return record


def is_flagged(owner: Mapping, key: str = 'ignore') -> bool:
    """Return whether a flag is set: any number but 0. An absent flag is not set.

    >>> is_flagged({'ignore': 1}), is_flagged({})
    (True, False)

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
    """Return whether an entry of ``gtboxes`` is an ignore region rather than a person.

    >>> is_ignored({'tag': 'mask'}), is_ignored({'tag': 'person', 'extra': {'ignore': 0}})
    (True, False)
    """
    return annotation['tag'] != 'person' or is_flagged(annotation.get('extra', {}))


def is_head_ignored(annotation: Mapping) -> bool:
    """Return whether a head is ignored: its body is, or ``head_attr.ignore`` is set.

    >>> is_head_ignored({'tag': 'person', 'head_attr': {'ignore': 1}})
    True
    """
    return is_flagged(annotation.get('head_attr', {})) or is_ignored(annotation)


def is_box(value: object) -> bool:
    """Return whether a value is a list of four finite numbers that may be pixels.

    >>> is_box([1, 2.5, 3, 4]), is_box([1, 2, 3, float('nan')]), is_box(['1', 2, 3, 4])
    (True, False, False)
    """
    if not isinstance(value, list) or len(value) != 4:
        return False
    x, y, w, h = value
    try:
        return abs(x) < _HUGE and abs(y) < _HUGE and abs(w) < _HUGE and abs(h) < _HUGE
    except TypeError:
        return False


def xywh_to_xyxy(box: Sequence[float]) -> list[float]:
    """Return x1, y1, x2, y2 of a box x, y, w, h.

    >>> xywh_to_xyxy([10, 5, 20, 50])
    [10, 5, 30, 55]
    """
    x, y, w, h = box
    return [x, y, x + w, y + h]


def make_annotation(
    fbox: Iterable[float], vbox: Iterable[float] | None = None, ignore: bool = False
) -> dict:
    """Return an entry of ``gtboxes`` for a source without head boxes.

    The head box, which readers expect, repeats the visible box and is marked as ignored.

    >>> make_annotation([10, 5, 20.0, 50])['fbox']
    [10, 5, 20, 50]

    Args:
        fbox: Body box x, y, w, h in pixels.
        vbox: Visible part, same form; the body box if None.
        ignore: Whether this is an ignore region.
    """
    fbox = [_to_number(value) for value in fbox]
    vbox = fbox if vbox is None else [_to_number(value) for value in vbox]
    return {
        'tag': 'mask' if ignore else 'person',
        'fbox': fbox,
        'vbox': vbox,
        'hbox': vbox,
        'extra': {'ignore': int(ignore)},
        'head_attr': {'ignore': 1},
    }


def write_odgt(records: Iterable[dict], path: str) -> int:
    """Write records, one per line, to a file that appears only when complete.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_odgt([{'ID': 'a', 'gtboxes': []}], f'{directory}/annotation_val.odgt')
    1
    """
    count = 0
    with open_output(path) as file:
        for record in records:
            file.write(json.dumps(record) + '\n')
            count += 1
    return count


def _kind(value: object) -> str:
    return type(value).__name__


def _to_number(value: float) -> int | float:
    """Round to 3 digits; whole numbers become integers."""
    value = round(float(value), 3)
    return int(value) if value.is_integer() else value
