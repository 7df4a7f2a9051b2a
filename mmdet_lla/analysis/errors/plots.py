"""Figures of the page, as addresses that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ..figures import Style, data_uri, plot_style, to_svg

if TYPE_CHECKING:
    from .report import Analysis

SHOWN = ('JI', 'F1', 'precision', 'recall', 'false_alarms', 'counting_error')


def thresholds(analyses: Sequence[Analysis]) -> str:
    """Every number over the score threshold, a line a detector."""
    style = Style([one.name for one in analyses])
    with plot_style():
        figure = Figure(figsize=(11, 5.6), layout='constrained')
        panels = figure.subplots(2, 3, sharex=True).flat
    for axes, number in zip(panels, SHOWN, strict=True):
        for one in analyses:
            x = [point.threshold for point in one.points]
            y = [point.numbers[number] for point in one.points]
            axes.plot(x, y, label=one.name, **style.line(one.name))
            if number in one.best:
                axes.axvline(one.best[number]['threshold'], color=style.color(one.name), alpha=0.3)
        axes.set(title=number.replace('_', ' '), xlim=(0, 1), ylim=(0, None))
    panels = figure.axes
    for axes in panels[3:]:
        axes.set_xlabel('score threshold')
    if len(analyses) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc='outside lower center', ncols=len(analyses), frameon=False
        )
    return data_uri(to_svg(figure), 'image/svg+xml')


def calibrations(analyses: Sequence[Analysis]) -> str:
    """Precision over score, a line a detector."""
    style = Style([one.name for one in analyses])
    with plot_style():
        figure = Figure(figsize=(5, 4.4), layout='constrained')
        axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color='#bbbbbb', linestyle='--', linewidth=1)
    for one in analyses:
        name = f'{one.name} (ECE {one.calibration["ece"]:.3f})'
        line = style.line(one.name)
        axes.plot(
            one.calibration['score'], one.calibration['precision'], label=name, marker='o', **line
        )
    axes.set(xlabel='score', ylabel='share that is right', xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc='upper left', frameon=False)
    return data_uri(to_svg(figure), 'image/svg+xml')
