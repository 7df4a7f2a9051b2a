"""A sweep as text, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..figures import GRAY, Style, data_uri, plot_style, to_svg
from ..page import percent, render, signed
from ..test_sets import LOWER_IS_BETTER, METRICS
from .sweep import ALL, Best, Trial


def as_text(trials: Sequence[Trial], best: Mapping[str, Best]) -> str:
    """A table of the numbers in percent, and what is best."""
    width = max(len(trial.setting.name) for trial in trials)
    lines = [' ' * width + ''.join(f'{name:>9}' for name in (*METRICS, 'found'))]
    for trial in trials:
        cells = [percent(trial.numbers[ALL][metric], 2) for metric in METRICS]
        cells.append(f'{trial.detections:.1f}')
        lines.append(f'{trial.setting.name:{width}}' + ''.join(f'{cell:>9}' for cell in cells))
    lines += [
        f'best {metric}: {one.trial.setting.name} ({signed(one.change, 2)}, 95 % interval '
        f'{signed(one.low, 2)} to {signed(one.high, 2)})'
        for metric, one in best.items()
    ]
    return '\n'.join(lines)


def write_json(path: Path, trials: Sequence[Trial], best: Mapping[str, Best]) -> None:
    """Write everything the page says."""
    content = dict(
        trials=[
            dict(
                name=one.setting.name,
                test_cfg=one.setting.changes,
                detections=one.detections,
                numbers=one.numbers,
            )
            for one in trials
        ],
        best={
            metric: dict(name=one.trial.setting.name, change=one.change, low=one.low, high=one.high)
            for metric, one in best.items()
        },
    )
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def write_report(
    path: Path, trials: Sequence[Trial], best: Mapping[str, Best], name: str, command: str
) -> None:
    """Write the page, one file with everything in it.

    Args:
        path (Path): Where.
        trials (Sequence[Trial]): What ``sweep`` gives; the first is the config's own.
        best (Mapping[str, Best]): What ``best_trials`` gives.
        name (str): Of the detector.
        command (str): How it was made.
    """
    page = render(
        'sweep.html',
        name=name,
        trials=trials,
        best=best,
        metrics=METRICS,
        lower=LOWER_IS_BETTER,
        all=ALL,
        num_pictures=len(trials[0].result.img_ids),
        num_people=len(trials[0].result.main.gt_picture),
        figure=plot(trials),
        command=command,
    )
    path.write_text(page, encoding='utf-8')


def plot(trials: Sequence[Trial]) -> str | None:
    """Each number over the threshold of NMS, a line a density; None for a single threshold."""
    hard = sorted(
        (one for one in trials if one.threshold is not None), key=lambda one: one.threshold or 0
    )
    if len(hard) < 2:
        return None
    soft = [one for one in trials if dict(one.setting.changes.get('nms', {})).get('method')]
    groups = list(trials[0].numbers)
    style = Style(groups)
    with plot_style():
        figure = Figure(figsize=(11, 6.4), layout='constrained')
        panels = figure.subplots(2, 2, sharex=True).flat
    x = [one.threshold for one in hard]
    for axes, metric in zip(panels, METRICS, strict=True):
        for group in groups:
            y = [100 * one.numbers[group][metric] for one in hard]
            axes.plot(x, y, label=group, marker='o', markersize=3, **style.line(group))
        for one, line in zip(soft, ('--', ':'), strict=False):
            value = 100 * one.numbers[ALL][metric]
            axes.axhline(value, color=GRAY, linestyle=line, label=f'{one.setting.name}, {ALL}')
        axes.set_title(f'{metric}, %' + (' (lower is better)' if metric in LOWER_IS_BETTER else ''))
    for axes in figure.axes[2:]:
        axes.set_xlabel('IoU threshold of NMS')
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3, frameon=False)
    return data_uri(to_svg(figure), 'image/svg+xml')
