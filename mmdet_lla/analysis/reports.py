"""HTML reports and JSON results of the analyses."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from ..utils.files import atomic_write


def render(template: str, **values) -> str:
    """Render a template to one self-contained HTML page.

    Args:
        template (str): File in ``templates/``.
        values: Variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('mmdet_lla.analysis', 'templates'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=format_percent, signed=format_points)
    return environment.get_template(template).render(values)


def format_percent(value: float, decimals: int = 1) -> str:
    """Format a fraction as percent, without the sign.

    Example:
        >>> format_percent(0.8761)
        '87.6'
    """
    return f'{100 * value:.{decimals}f}'


def format_points(value: float, decimals: int = 1) -> str:
    """Format a difference of fractions in percentage points, with a true minus sign.

    Example:
        >>> format_points(0.0123), format_points(0.00001)
        ('+1.2', '0.0')
    """
    text = f'{100 * value:+.{decimals}f}'.replace('-', '\N{MINUS SIGN}')
    # no sign for a difference that rounds to zero
    return text[1:] if not text[1:].strip('0.') else text


def write_results(out_dir: Path, name: str, content, page: str) -> None:
    """Write the results of an analysis, ``NAME.json`` and ``report.html``, each as a whole.

    Args:
        out_dir (Path): Created if it does not exist.
        name (str): Stem of the JSON file.
        content: For the JSON file.
        page (str): The report.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (out_dir / f'{name}.json', json.dumps(content, indent=2) + '\n'),
        (out_dir / 'report.html', page),
    ):
        with atomic_write(path) as file:
            file.write(text)
