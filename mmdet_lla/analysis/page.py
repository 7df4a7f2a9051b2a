"""Pages of the analyses: one HTML file each, with everything in it."""

from __future__ import annotations

import jinja2


def render(template: str, **content) -> str:
    """A page.

    Args:
        template (str): File in ``templates/``.
        content: What it is filled with.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('mmdet_lla.analysis', 'templates'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=percent, signed=signed)
    return environment.get_template(template).render(content)


def percent(value: float, places: int = 1) -> str:
    """A fraction of 1 in percent."""
    return f'{100 * value:.{places}f}'


def signed(value: float, places: int = 1) -> str:
    """A difference of fractions in percentage points, with a true minus sign."""
    text = f'{100 * value:+.{places}f}'.replace('-', '\N{MINUS SIGN}')
    # no sign for what is shown as nothing
    return text[1:] if not text[1:].strip('0.') else text
