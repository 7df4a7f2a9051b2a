"""What the assigners' arguments have in common, and how one that does not fit is refused."""

from collections.abc import Mapping
from typing import Any

PRIOR_FORMS = ('auto', 'points', 'boxes')
SCORE_FORMS = ('logits', 'probs')


def check_settings(
    who: str, checks: Mapping[str, tuple[bool, str]], values: Mapping[str, Any]
) -> None:
    """Raise for the first setting that does not fit.

    Args:
        who (str): Name of the class whose settings they are.
        checks (Mapping): Whether each setting fits, and what is expected of it.
        values (Mapping): The settings.

    Raises:
        ValueError: If one does not fit.
    """
    for name, (fits, expected) in checks.items():
        if not fits:
            raise ValueError(f'{who}: {name} must be {expected}, got {values[name]!r}')


def is_count(value: object) -> bool:
    """Whether it is an int of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
