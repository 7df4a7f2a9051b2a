"""The look of all figures: colors, line styles and markers that the color-blind can tell apart."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib
from matplotlib.figure import Figure

#: Okabe and Ito, Color Universal Design (2008), without yellow, which is faint on white. Black, the
#: first, is the baseline's.
COLORS = ('#000000', '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
LINES = ('-', (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = 'osD^vP*X'
GRAY = '#666666'
_RC = {
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#e4e4e4',
    'grid.linewidth': 0.7,
    'axes.axisbelow': True,
    'axes.edgecolor': GRAY,
    'xtick.color': GRAY,
    'ytick.color': GRAY,
    'xtick.labelcolor': 'black',
    'ytick.labelcolor': 'black',
    'legend.frameon': False,
}


class Style:
    """Color, line style and marker of each config or detector.

    >>> Style(['LLA', 'ATSS']).color('ATSS')
    '#0072B2'
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def color(self, name: str) -> str:
        """Color of a name."""
        return COLORS[self.names.index(name) % len(COLORS)]

    def line(self, name: str) -> dict:
        """Keyword arguments of ``Axes.plot`` for a line."""
        i = self.names.index(name)
        return dict(
            color=self.color(name),
            linestyle=LINES[i // len(COLORS) % len(LINES)],
            linewidth=2.2 if i == 0 else 1.5,
            zorder=3 if i == 0 else 2,
        )

    def point(self, name: str) -> dict:
        """Keyword arguments of ``Axes.plot`` for a marker, hollow where colors repeat."""
        i = self.names.index(name)
        hollow = i // len(COLORS) % 2
        return dict(
            color=self.color(name),
            marker=MARKERS[i % len(MARKERS)],
            markerfacecolor='white' if hollow else self.color(name),
        )


def plot_style() -> AbstractContextManager[None]:
    """Context in which new axes take the common style."""
    return matplotlib.rc_context(_RC)


def to_svg(figure: Figure) -> str:
    """Render a figure as SVG; equal figures give equal text."""
    file = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': 'mmdet_lla'}):
        figure.savefig(
            file, format='svg', metadata={'Date': None}, bbox_inches='tight', pad_inches=0.05
        )
    return file.getvalue()


def data_uri(content: str | bytes, mime_type: str) -> str:
    """Encode a file as a data URI, so that an HTML page needs no other file.

    >>> data_uri('hi', 'text/plain')
    'data:text/plain;base64,aGk='
    """
    content = content.encode() if isinstance(content, str) else content
    return f'data:{mime_type};base64,{base64.b64encode(content).decode()}'
