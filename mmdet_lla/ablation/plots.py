"""Figures of a study; each function returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ..analysis.figures import Style, plot_style
from ..analysis.test_sets import LOWER_IS_BETTER
from .compare import Comparison, Group, RunResults, mean_miss_rate, mean_precision, significance

WIDTH = 7.2  # inches, without the legend
ATTRIBUTE_LABELS = {
    'crowded': 'largest IoU with another gt',
    'height': 'height in pixels of the original image',
    'visible': 'visible fraction of the body',
}


def precision_recall(configs: Sequence[RunResults], style: Style) -> Figure:
    """Plot precision over recall, mean over seeds."""
    recall = np.linspace(0, 1, 301)
    figure, axes = _figure(4.6)
    for one in configs:
        axes.plot(
            recall,
            mean_precision(one.results.values(), recall),
            label=one.name,
            **style.line(one.name),
        )
    axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.01))
    _legend(axes)
    return figure


def miss_rate(configs: Sequence[RunResults], style: Style) -> Figure:
    """Plot miss rate over false positives per image, both logarithmic, mean over seeds."""
    fppi = np.geomspace(0.01, 10, 301)
    figure, axes = _figure(4.6)
    rates = [mean_miss_rate(one.results.values(), fppi) for one in configs]
    for one, rate in zip(configs, rates, strict=True):
        axes.plot(fppi, rate, label=one.name, **style.line(one.name))
    lowest = max(min(rate.min() for rate in rates), 1e-3)
    axes.axvspan(0.01, 1, color='#f0f0f0', zorder=0, linewidth=0)
    axes.set(
        xlabel='false positives per image',
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
    comparisons: Sequence[Comparison], metrics: Sequence[str], baseline: str, style: Style
) -> Figure | None:
    """Plot paired differences to the baseline with intervals; None if there are none."""
    rows = [one for one in comparisons if one.differences is not None]
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


def studies(comparisons: Mapping[str, Sequence[Comparison]], metrics: Sequence[str]) -> Figure:
    """Plot paired differences to the baseline in several studies, one color each.

    Raises:
        ValueError: The baselines differ, or no study has a difference.
    """
    bases = {some[0].name for some in comparisons.values()}
    if len(bases) > 1:
        raise ValueError(f'the studies have the baselines {sorted(bases)}, expected the same')
    names = list(
        dict.fromkeys(
            one.name for some in comparisons.values() for one in some if one.differences is not None
        )
    )
    if not names:
        raise ValueError('no config was compared with the baseline in any study')
    style = Style(list(comparisons))
    with plot_style():
        figure = Figure(figsize=(WIDTH + 2, 1.1 + 0.5 * len(names)), layout='constrained')
        panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axes, metric in zip(panels, metrics, strict=True):
        for i, (study, some) in enumerate(comparisons.items()):
            shift = 0.6 * ((i + 0.5) / len(comparisons) - 0.5)
            for one in some:
                if one.differences is not None:
                    _difference(axes, names.index(one.name) + shift, one, metric, style, study)
        _difference_axes(axes, metric)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [
        Line2D([], [], linewidth=2, label=study, **style.point(study)) for study in comparisons
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=len(comparisons), frameon=False
    )
    figure.suptitle(
        f'Difference to {bases.pop()} in percentage points; faint: inconclusive', fontsize=10
    )
    return figure


def _difference(axes, y: float, one: Comparison, metric: str, style: Style, name: str) -> None:
    """Plot one interval in the color of ``name``, faint if it is inconclusive."""
    assert one.differences is not None
    found = one.differences[metric]
    clear = significance(metric, found) in ('better', 'worse')
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
    groups: Mapping[str, Sequence[Group]], metric: str, attribute: str, style: Style
) -> Figure:
    """Plot a metric by an attribute of the gts, with intervals.

    Args:
        groups (Mapping[str, Sequence[Group]]): Groups by config.
        metric (str): One of ``GROUP_METRICS``.
        attribute (str): A key of ``ATTRIBUTE_LABELS``.
        style (Style): Style of the configs.
    """
    figure, axes = _figure(3.6)
    counts = {(g.low, g.high): g.num_gts for some in groups.values() for g in some}
    order = sorted(counts)
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
        [f'{_range(low, high)}\n{counts[low, high]} gts' for low, high in order],
    )
    for edge in range(1, len(order)):
        axes.axvline(edge - 0.5, color='#dddddd', linewidth=0.8)
    axes.set(
        xlabel=ATTRIBUTE_LABELS[attribute],
        ylabel=metric,
        xlim=(-0.5, len(order) - 0.5),
        ylim=(0, 1.02),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=''))
    axes.grid(axis='x', visible=False)
    _legend(axes)
    return figure


def training(
    curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    style: Style,
) -> Figure:
    """Plot the loss over iterations, smoothed over a fortieth of them, mean over seeds.

    Args:
        curves (Mapping[str, Sequence[tuple]]): By config, steps and values of each seed, shape
            (n,) each.
        style (Style): Style of the configs.
    """
    figure, axes = _figure(4.0)
    for name, runs in curves.items():
        last = max(steps[-1] for steps, _ in runs)
        grid = np.unique(np.concatenate([steps for steps, _ in runs]))
        smooth = [
            np.interp(grid, steps, _smooth(steps, values, last / 40)) for steps, values in runs
        ]
        axes.plot(grid, np.mean(smooth, axis=0), label=name, **style.line(name))
    axes.set(xlabel='iteration', ylabel='loss', xlim=(0, None), ylim=(0, None))
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
    return f'{low:g} or more' if np.isinf(high) else f'{low:g} to {high:g}'


def _smooth(steps: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """Average the values within half a width of each step, shape (n,)."""
    first = np.searchsorted(steps, steps - width / 2, side='left')
    last = np.searchsorted(steps, steps + width / 2, side='right')
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[last] - total[first]) / (last - first)
