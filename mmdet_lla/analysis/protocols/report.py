"""Report of a protocol comparison as text, JSON and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..reports import format_percent, format_points, render, write_results
from ..test_sets import LOWER_IS_BETTER, METRICS
from .comparison import Row, Step
from .toolkits import Task


def format_text(rows: Sequence[Row]) -> str:
    """Format a table of the metrics in percent, followed by the rules that make the differences."""
    width = max(len(row.name) for row in rows)
    lines = [' ' * width + ''.join(f'{metric:>8}' for metric in METRICS)]
    for row in rows:
        cells = (format_percent(row.values[m], 2) if m in row.values else '' for m in METRICS)
        lines.append(f'{row.name:{width}}' + ''.join(f'{cell:>8}' for cell in cells))
    lines += [f'{row.name}: {row.failure}' for row in rows if row.failure]
    for row in rows:
        for metric, steps in row.steps.items():
            if not steps:
                continue
            lines += ['', f'{metric} of {row.name}, from {format_percent(row.start[metric], 2)}']
            lines += [
                f'  {format_points(step.change, 2):>7} to {format_percent(step.value, 2)}; '
                f'without it {format_percent(step.without, 2)}: {step.description}'
                for step in steps
                if step.matters(row.values[metric])
            ]
            idle = list_idle_rules(steps, row.values[metric])
            if idle:
                lines.append(f'  Without effect here: {" ".join(idle)}')
            if is_unexplained(row.rest[metric]):
                rest = format_points(row.rest[metric], 4)
                lines.append(f'  {rest:>7} remains that no rule explains')
    return '\n'.join(lines)


def list_idle_rules(steps: Sequence[Step], final: float) -> list[str]:
    """List the descriptions of the rules without effect on the final metric."""
    return [step.description for step in steps if not step.matters(final)]


def is_unexplained(rest: float) -> bool:
    """Tell whether a difference exceeds rounding in float32."""
    return abs(rest) > 1e-5


def write_report(out_dir: Path, rows: Sequence[Row], task: Task, name: str, command: str) -> None:
    """Write ``comparison.json`` and ``report.html``.

    Args:
        out_dir (Path): Directory to write to.
        rows (Sequence[Row]): Result of ``compare``.
        task (Task): Annotations and detections.
        name (str): Name of the detector.
        command (str): Command line to show.
    """
    page = render(
        'comparison.html',
        name=name,
        rows=rows,
        metrics=METRICS,
        lower=LOWER_IS_BETTER,
        list_idle_rules=list_idle_rules,
        is_unexplained=is_unexplained,
        num_images=len(task.annotations),
        num_gts=sum(len(one.gt_bboxes) for one in task.annotations),
        num_regions=sum(int(one.ignored.sum()) for one in task.annotations),
        num_detections=sum(len(one.scores) for one in task.detections),
        command=command,
    )
    write_results(out_dir, 'comparison', [asdict(row) for row in rows], page)
