"""Figures of a study: one colour and line per config throughout, told apart by the colour-blind.

Each function gives a matplotlib figure, so that it can be saved in any format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..analysis.figures import Style, plot_style
from ..analysis.test_sets import LOWER_IS_BETTER
from .evidence import (
    Evidence,
    Group,
    Weighed,
    mean_miss_rate,
    mean_precision,
    verdict,
)
from .training_curves import smoothed

WIDTH = 7.2  # inches, of a figure without its legend
GROUP_WORDS = {
    'crowded': 'largest IoU with another person',
    'height': 'height in pixels of the original picture',
    'visible': 'visible share of the body',
}


def precision_recall(evidence: Sequence[Evidence], style: Style) -> Figure:
    """Precision over recall, mean over seeds."""
    recall = np.linspace(0, 1, 301)
    figure, axes = _figure(4.6)
    for one in evidence:
        axes.plot(
            recall,
            mean_precision(one.results.values(), recall),
            label=one.name,
            **style.line(one.name),
        )
    axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.01))
    _legend(axes)
    return figure


def miss_rate(evidence: Sequence[Evidence], style: Style) -> Figure:
    """Miss rate over false positives per picture, both logarithmic, mean over seeds."""
    fppi = np.geomspace(0.01, 10, 301)
    figure, axes = _figure(4.6)
    rates = [mean_miss_rate(one.results.values(), fppi) for one in evidence]
    for one, rate in zip(evidence, rates, strict=True):
        axes.plot(fppi, rate, label=one.name, **style.line(one.name))
    lowest = max(min(rate.min() for rate in rates), 1e-3)
    axes.axvspan(0.01, 1, color='#f0f0f0', zorder=0, linewidth=0)
    axes.set(
        xlabel='false positives per picture',
        ylabel='miss rate',
        xscale='log',
        yscale='log',
        xlim=(fppi[0], fppi[-1]),
        ylim=(0.9 * lowest, 1.02),
    )
    ticks = [
        t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if t > 0.9 * lowest
    ]
    axes.set_yticks(ticks, [f'{t:g}' for t in ticks])
    axes.set_yticks([], minor=True)
    axes.set_xticks([0.01, 0.1, 1, 10], ['0.01', '0.1', '1', '10'])
    _legend(axes)
    return figure


def differences(
    weighed: Sequence[Weighed], metrics: Sequence[str], baseline: str, style: Style
) -> Figure | None:
    """Paired differences to the baseline with intervals; None where there are none."""
    rows = [one for one in weighed if one.differences is not None]
    if not rows:
        return None
    with plot_style():
        figure = Figure(figsize=(WIDTH + 2, 0.9 + 0.33 * len(rows)), layout='constrained')
        panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics, strict=True):
        for y, one in enumerate(rows):
            _difference(axes, y, one, metric, style, one.name)
        _difference_axes(axes, metric)
    panels[0].set_yticks(range(len(rows)), [one.name for one in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f'Difference to {baseline} in percentage points', fontsize=10)
    return figure


def studies(weighed: Mapping[str, Sequence[Weighed]], metrics: Sequence[str]) -> Figure:
    """Paired differences to the baseline in several studies, one colour each.

    Args:
        weighed (Mapping[str, Sequence[Weighed]]): By study, the same baseline first.
        metrics (Sequence[str]): A panel each.

    Raises:
        ValueError: The studies have other baselines, or none has anything to compare.
    """
    bases = {some[0].name for some in weighed.values()}
    if len(bases) > 1:
        raise ValueError(f'the studies have the baselines {sorted(bases)}, expected the same one')
    names = list(
        dict.fromkeys(
            one.name for some in weighed.values() for one in some if one.differences is not None
        )
    )
    if not names:
        raise ValueError('no config was compared with the baseline in any study')
    style = Style(list(weighed))
    with plot_style():
        figure = Figure(figsize=(WIDTH + 2, 1.1 + 0.5 * len(names)), layout='constrained')
        panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics, strict=True):
        for i, (study, some) in enumerate(weighed.items()):
            shift = 0.6 * ((i + 0.5) / len(weighed) - 0.5)
            for one in some:
                if one.differences is not None:
                    _difference(axes, names.index(one.name) + shift, one, metric, style, study)
        _difference_axes(axes, metric)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [Line2D([], [], linewidth=2, label=study, **style.point(study)) for study in weighed]
    figure.legend(handles=handles, loc='outside lower center', ncols=len(weighed), frameon=False)
    figure.suptitle(f'Difference to {bases.pop()} in percentage points; faint: noise', fontsize=10)
    return figure


def _difference(axes, y: float, one: Weighed, metric: str, style: Style, name: str) -> None:
    """One interval, faint where it is noise, in the colour of ``name``."""
    assert one.differences is not None  # others are not drawn
    found = one.differences[metric]
    clear = verdict(metric, found) in ('better', 'worse')
    axes.plot(
        [100 * found.low, 100 * found.high],
        [y, y],
        linewidth=2,
        color=style.color(name),
        alpha=1 if clear else 0.35,
    )
    axes.plot([100 * found.value], [y], markersize=6, **style.point(name))


def _difference_axes(axes, metric: str) -> None:
    axes.axvline(0, color='black', linewidth=1, zorder=1)
    axes.set_xlabel(f'{metric}: {"left" if metric in LOWER_IS_BETTER else "right"} is better')
    axes.grid(axis='y', visible=False)


def by_group(
    groups: Mapping[str, Sequence[Group]], metric: str, trait: str, style: Style
) -> Figure:
    """A metric by a trait of people, points with intervals side by side.

    Args:
        groups (Mapping[str, Sequence[Group]]): By config.
        metric (str): Of ``GROUP_METRICS``.
        trait (str): A key of ``GROUP_WORDS``.
        style (Style): Of the configs.
    """
    figure, axes = _figure(3.6)
    places = {(g.low, g.high): g.num_people for some in groups.values() for g in some}
    order = sorted(places)
    spread = min(0.8, 0.12 * len(groups))
    for i, (name, some) in enumerate(groups.items()):
        shift = spread * ((i + 0.5) / len(groups) - 0.5)
        x = np.array([order.index((g.low, g.high)) for g in some]) + shift
        found = [g.means[metric] for g in some]
        axes.vlines(
            x,
            [e.low for e in found],
            [e.high for e in found],
            linewidth=1.6,
            alpha=0.5,
            color=style.color(name),
        )
        axes.plot(
            x,
            [e.value for e in found],
            linestyle='none',
            markersize=5,
            label=name,
            **style.point(name),
        )
    axes.set_xticks(
        range(len(order)),
        [f'{_range(low, high)}\n{places[low, high]} people' for low, high in order],
    )
    for edge in range(1, len(order)):
        axes.axvline(edge - 0.5, color='#dddddd', linewidth=0.8)
    axes.set(
        xlabel=GROUP_WORDS[trait], ylabel=metric, xlim=(-0.5, len(order) - 0.5), ylim=(0, 1.02)
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=''))
    axes.grid(axis='x', visible=False)
    _legend(axes)
    return figure


def training(
    curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], style: Style, what: str = 'loss'
) -> Figure:
    """A scalar over the iterations, smoothed over a fortieth of them, mean over seeds.

    Args:
        curves (Mapping[str, Sequence[tuple]]): By config, of each seed the steps and the values,
            shape (N, ) each.
        style (Style): Of the configs.
        what (str): Name of the scalar. Defaults to 'loss'.
    """
    figure, axes = _figure(4.0)
    for name, runs in curves.items():
        last = max(steps[-1] for steps, _ in runs)
        grid = np.unique(np.concatenate([steps for steps, _ in runs]))
        smooth = [
            np.interp(grid, steps, smoothed(steps, values, last / 40)) for steps, values in runs
        ]
        axes.plot(grid, np.mean(smooth, axis=0), label=name, **style.line(name))
    axes.set(xlabel='iteration', ylabel=what, xlim=(0, None), ylim=(0, None))
    _legend(axes)
    return figure


def _figure(height: float):
    with plot_style():
        figure = Figure(figsize=(WIDTH, height), layout='constrained')
        return figure, figure.subplots()


def _legend(axes) -> None:
    axes.legend(
        loc='upper left', bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=9, frameon=False
    )


def _range(low: float, high: float) -> str:
    return f'{low:g} and more' if np.isinf(high) else f'{low:g} to {high:g}'
