"""Open annotation files: UTF-8 text with or without a byte-order mark, and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from mmengine.fileio import get

from ..utils.files import atomic_write

_UTF16_MARKS = (b'\xff\xfe', b'\xfe\xff')


class AnnotationError(ValueError):
    """An annotation file that cannot be used; names file, position and what was expected."""


def read_bytes(path: str, backend_args: dict | None = None) -> bytes:
    """Return the content of a file through mmengine's backends.

    Raises:
        FileNotFoundError: It does not exist.
    """
    return get(path, backend_args=backend_args)


def read_text(path: str, backend_args: dict | None = None) -> str:
    """Return the text of an annotation file; see :func:`decode`."""
    return decode(read_bytes(path, backend_args), path)


def decode(content: bytes, where: str) -> str:
    r"""Decode UTF-8, drop the byte-order mark, and end lines by ``\n``.

    >>> decode(b'\xef\xbb\xbfa\r\nb', 'a.txt')
    'a\nb'

    Raises:
        AnnotationError: It is in another encoding, cut off within a character, or no text.
    """
    encoding, cut = 'UTF-16' if content.startswith(_UTF16_MARKS) else 'WINDOWS-1252', ''
    try:
        text = content.decode('utf-8-sig')
        if '\0' not in text:
            return text.replace('\r\n', '\n')
        start, encoding, reason = content.index(b'\0'), 'UTF-16LE', 'a zero byte'
    except UnicodeDecodeError as error:
        start, reason = error.start, str(error)
        if error.end == len(content) and error.reason == 'unexpected end of data':
            cut = 'it may be cut off, or '
    line = content.count(b'\n', 0, start) + 1
    raise AnnotationError(
        f'{where} is not UTF-8 text (line {line}: {reason}); {cut}convert it if it has another '
        f'encoding: iconv -f {encoding} -t UTF-8'
    )


def read_json(path: str, backend_args: dict | None = None, once: Sequence[str] = ()) -> object:
    """Return the content of a JSON file; see :func:`parse_json`."""
    return parse_json(read_bytes(path, backend_args), path, once)


def parse_json(content: bytes, where: str, once: Sequence[str] = ()) -> object:
    """Parse JSON.

    >>> parse_json(b'{"images": [1]}', 'a.json', once=['images'])
    {'images': [1]}

    Args:
        content: Bytes of the file.
        where: Name of the file, for messages.
        once: Keys that no object may hold twice: Python would silently keep the last value.

    Raises:
        AnnotationError: It is empty, no JSON, or holds such a key twice.
    """
    text = decode(content, where)
    if not text or text.isspace():
        raise AnnotationError(f'{where}: not JSON, it is empty')
    try:
        return load_once(text, once)
    except json.JSONDecodeError as error:
        cut = '' if text[error.pos :].strip() else '; it may be cut off'
        raise AnnotationError(
            f'{where}: not JSON, {error.msg} at line {error.lineno}, column {error.colno}{cut}'
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of 5,000 digits
        raise AnnotationError(f'{where}: {error}') from error


def load_once(text: str, once: Sequence[str]) -> object:
    """Parse JSON text whose objects hold none of some keys twice.

    >>> load_once('{"a": 1}', once=['a'])
    {'a': 1}

    Raises:
        ValueError, RecursionError: It holds one twice, or is no JSON.
    """

    def refuse_repeated(pairs: list[tuple[str, object]]) -> dict:
        keys = [key for key, _ in pairs]
        for key in once:
            if keys.count(key) > 1:
                raise ValueError(f'field {key!r} occurs more than once')
        return dict(pairs)

    value = json.loads(text)
    # The hook makes parsing several times slower and is rarely needed.
    if any(text.count(f'"{key}"') > 1 for key in once):
        json.loads(text, object_pairs_hook=refuse_repeated)
    return value


@contextmanager
def open_output(path: str) -> Iterator[TextIO]:
    """Open a text file for writing that appears, with its directory, only when complete."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with atomic_write(path) as file:
        yield file
