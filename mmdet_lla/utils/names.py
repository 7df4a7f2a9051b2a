"""Suggest names for mistyped ones, and read `NAME=PATH` arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def closest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Return the candidates that resemble a mistyped name, the most similar first.

    Args:
        name (str): The name that was not found. Upper and lower case count as equal.
        candidates (Iterable[str]): All valid names.
        count (int): Maximum number of suggestions. Defaults to 3.

    Example:
        >>> closest('predcit', ['predict', 'export', 'train'])
        ['predict']
        >>> closest('xyz', ['predict', 'export', 'train'])
        []
    """
    by_lower = {one.lower(): one for one in candidates}
    return [by_lower[one] for one in get_close_matches(name.lower(), by_lower, count, 0.6)]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return the end of a message that suggests similar names; empty if there are none.

    Example:
        >>> did_you_mean('trian', ['train', 'test'])
        '; did you mean train?'
        >>> did_you_mean('xyz', ['train', 'test'])
        ''
    """
    found = closest(name, candidates)
    return f'; did you mean {" or ".join(found)}?' if found else ''


def parse_named_path(text: str) -> tuple[str | None, str]:
    """Split ``NAME=PATH``; the name is None where only a path is given.

    The name ends at the first ``=`` and contains no slash. An existing path has no name.

    Example:
        >>> parse_named_path('LLA, K 5=work_dirs/k5/detections.pkl')
        ('LLA, K 5', 'work_dirs/k5/detections.pkl')
    """
    name, _, path = text.partition('=')
    if not (name and path) or '/' in name or '\\' in name or os.path.exists(text):
        return None, text
    return name, path


def join_first(items: Sequence[str], count: int = 5) -> str:
    """Join the first few items for a message.

    Example:
        >>> join_first(['a', 'b', 'c'], count=2)
        'a, b and 1 more'
    """
    more = f' and {len(items) - count} more' if len(items) > count else ''
    return ', '.join(items[:count]) + more
