"""The one way in which annotations are opened: UTF-8 text, with or without a byte-order mark."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from mmengine.fileio import get

_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, 'UTF-32'),  # before UTF-16, whose mark begins like it
    (codecs.BOM_UTF32_BE, 'UTF-32'),
    (codecs.BOM_UTF16_LE, 'UTF-16'),
    (codecs.BOM_UTF16_BE, 'UTF-16'),
)


class AnnotationError(ValueError):
    """An annotation file that cannot be used; says which, where in it, and what was expected."""


def read_bytes(path: str, backend_args: dict | None = None) -> bytes:
    """Content of a file through mmengine's backends.

    Raises:
        FileNotFoundError: It is not there.
    """
    return get(path, backend_args=backend_args)


def read_text(path: str, backend_args: dict | None = None) -> str:
    """Text of an annotation file; see :func:`decode`."""
    return decode(read_bytes(path, backend_args), path)


def decode(content: bytes, where: str) -> str:
    r"""Text of an annotation file: UTF-8, its mark dropped, lines ended by ``\n``.

    Args:
        content: The file's bytes.
        where: The file, for the message.

    Raises:
        AnnotationError: It is in another encoding, cut off within a character, or no text.
    """
    for mark, name in _OTHER_MARKS:
        if content.startswith(mark):
            raise AnnotationError(
                f'{where} is no text in UTF-8, it is marked as {name}; convert it: '
                f'iconv -f {name} -t UTF-8'
            )
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content.count(b'\n', 0, error.start) + 1
        advice = 'convert it if it is in another encoding: iconv -f WINDOWS-1252 -t UTF-8'
        if error.end == len(content) and error.reason == 'unexpected end of data':
            advice = f'it may be cut off, for it ends within a character; else {advice}'
        raise AnnotationError(
            f'{where} is no text in UTF-8 (line {line}: {error}); {advice}'
        ) from error
    if '\0' in text:
        line = text.count('\n', 0, text.index('\0')) + 1
        raise AnnotationError(
            f'{where} is no text in UTF-8 (line {line} holds a zero byte); it is damaged, or '
            'UTF-16 without a mark: iconv -f UTF-16LE -t UTF-8'
        )
    return text.replace('\r\n', '\n')


def read_json(path: str, backend_args: dict | None = None, once: Sequence[str] = ()) -> object:
    """What a JSON file holds; see :func:`parse_json`."""
    return parse_json(read_bytes(path, backend_args), path, once)


def parse_json(content: bytes, where: str, once: Sequence[str] = ()) -> object:
    """What JSON holds.

    Args:
        content: The file's bytes.
        where: The file, for messages.
        once: Keys that an object must not hold twice, for of two lists Python would keep the last.

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
    except RepeatedKeyError as error:
        raise AnnotationError(f'{where}: {error}') from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of 5,000 digits
        raise AnnotationError(f'{where}: JSON that cannot be read: {error}') from error


class RepeatedKeyError(ValueError):
    """An object of JSON that holds a key twice."""


def load_once(text: str, once: Sequence[str]) -> object:
    """``json.loads``, which would keep the last of two lists of a name without a word.

    Raises:
        RepeatedKeyError: An object holds one of these keys twice.
        ValueError, RecursionError: As ``json.loads``.
    """

    def refuse(pairs: list[tuple[str, object]]) -> dict:
        names = [name for name, _ in pairs]
        for key in once:
            if names.count(key) > 1:
                raise RepeatedKeyError(f'field {key!r} occurs more than once')
        return dict(pairs)

    value = json.loads(text)
    # Looking closer takes several times as long, and is seldom called for.
    if any(text.count(f'"{key}"') > 1 for key in once):
        json.loads(text, object_pairs_hook=refuse)
    return value


@contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """A file to write text to that takes its name only when all was written without an error."""
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)
    part = f'{path}.{os.getpid()}.part'
    try:
        with open(part, 'w', encoding='utf-8') as file:
            yield file
        os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(part)
