"""Report of an NMS sweep as text, JSON and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..figures import GRAY, Style, data_uri, plot_style, to_svg
from ..reports import format_percent, format_points, render, write_results
from ..test_sets import LOWER_IS_BETTER, METRICS
from .sweep import ALL, Best, Trial


def format_text(trials: Sequence[Trial], bests: Mapping[str, Best]) -> str:
    """Format a table of the metrics in percent, and the best settings."""
    width = max(len(trial.setting.name) for trial in trials)
    lines = [' ' * width + ''.join(f'{name:>9}' for name in (*METRICS, 'dets'))]
    for trial in trials:
        cells = [format_percent(trial.metrics[ALL][metric], 2) for metric in METRICS]
        cells.append(f'{trial.num_detections:.1f}')
        lines.append(f'{trial.setting.name:{width}}' + ''.join(f'{cell:>9}' for cell in cells))
    lines += [
        f'best {metric}: {best.trial.setting.name} ({format_points(best.delta, 2)}, 95 % interval '
        f'{format_points(best.low, 2)} to {format_points(best.high, 2)})'
        for metric, best in bests.items()
    ]
    return '\n'.join(lines)


def write_report(
    out_dir: Path, trials: Sequence[Trial], bests: Mapping[str, Best], name: str, command: str
) -> None:
    """Write ``sweep.json`` and ``report.html``.

    Args:
        out_dir (Path): Directory to write to.
        trials (Sequence[Trial]): From ``evaluate_settings``; the first is the config's own setting.
        bests (Mapping[str, Best]): Result of ``find_best_trials``.
        name (str): Name of the detector.
        command (str): Command line to show.
    """
    content = dict(
        trials=[
            dict(
                name=one.setting.name,
                test_cfg=one.setting.changes,
                num_detections=one.num_detections,
                metrics=one.metrics,
            )
            for one in trials
        ],
        best={
            metric: dict(name=one.trial.setting.name, delta=one.delta, low=one.low, high=one.high)
            for metric, one in bests.items()
        },
    )
    page = render(
        'sweep.html',
        name=name,
        trials=trials,
        bests=bests,
        metrics=METRICS,
        lower=LOWER_IS_BETTER,
        all=ALL,
        num_images=len(trials[0].result.img_ids),
        num_gts=len(trials[0].result.main.gt_image),
        figure=_plot_thresholds(trials),
        command=command,
    )
    write_results(out_dir, 'sweep', content, page)


def _plot_thresholds(trials: Sequence[Trial]) -> str | None:
    """Plot each metric over the IoU threshold, a line per density; None for one threshold."""
    plain = sorted(
        (one for one in trials if one.threshold is not None), key=lambda one: one.threshold or 0
    )
    if len(plain) < 2:
        return None
    soft = [one for one in trials if one.setting.is_soft]
    groups = list(trials[0].metrics)
    style = Style(groups)
    with plot_style():
        figure = Figure(figsize=(11, 6.4), layout='constrained')
        panels = figure.subplots(2, 2, sharex=True).flat
    x = [one.threshold for one in plain]
    for axes, metric in zip(panels, METRICS, strict=True):
        for group in groups:
            y = [100 * one.metrics[group][metric] for one in plain]
            axes.plot(x, y, label=group, marker='o', markersize=3, **style.line(group))
        for one, line in zip(soft, ('--', ':'), strict=False):
            value = 100 * one.metrics[ALL][metric]
            axes.axhline(value, color=GRAY, linestyle=line, label=f'{one.setting.name}, {ALL}')
        axes.set_title(f'{metric}, %' + (' (lower is better)' if metric in LOWER_IS_BETTER else ''))
    for axes in figure.axes[2:]:
        axes.set_xlabel('IoU threshold of NMS')
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False)
    return data_uri(to_svg(figure), 'image/svg+xml')
