"""A comparison as text, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..page import percent, render, signed
from .comparison import Row, Step
from .toolkits import Task

NUMBERS = ('AP', 'MR', 'JI', 'recall')


def as_text(rows: Sequence[Row]) -> str:
    """A table of the numbers in percent, and under it the rules that make the differences."""
    width = max(len(row.name) for row in rows)
    lines = [' ' * width + ''.join(f'{number:>8}' for number in NUMBERS)]
    for row in rows:
        cells = (percent(row.values[n], 2) if n in row.values else '' for n in NUMBERS)
        lines.append(f'{row.name:{width}}' + ''.join(f'{cell:>8}' for cell in cells))
    for row in rows:
        if row.failure:
            lines.append(f'{row.name}: {row.failure}')
    for row in rows:
        for number, steps in row.steps.items():
            if not steps:
                continue
            lines += ['', f'{number} of {row.name}, from {percent(row.start[number], 2)}']
            lines += [
                f'  {signed(step.change, 2):>7} to {percent(step.value, 2)}; without it '
                f'{percent(step.without, 2)}: {step.sentence}'
                for step in steps
                if step.matters(row.values[number])
            ]
            idle = idle_rules(steps, row.values[number])
            if idle:
                lines.append(f'  Without effect here: {" ".join(idle)}')
            if unexplained(row.rest[number]):
                lines.append(f'  {signed(row.rest[number], 4):>7} is left that no rule explains')
    return '\n'.join(lines)


def idle_rules(steps: Sequence[Step], number: float) -> list[str]:
    """Sentences of the rules that change nothing on the way to a number."""
    return [step.sentence for step in steps if not step.matters(number)]


def unexplained(rest: float) -> bool:
    """Whether the rules leave more than float32 arithmetic does."""
    return abs(rest) > 1e-5


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write everything the page says."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + '\n', encoding='utf-8')


def write_report(path: Path, rows: Sequence[Row], task: Task, name: str, command: str) -> None:
    """Write the page, one file with everything in it.

    Args:
        path (Path): Where.
        rows (Sequence[Row]): What ``compare`` gives.
        task (Task): What was compared.
        name (str): Of the detector.
        command (str): How it was made.
    """
    page = render(
        'comparison.html',
        name=name,
        rows=rows,
        numbers=NUMBERS,
        lower=('MR',),
        idle_rules=idle_rules,
        unexplained=unexplained,
        num_pictures=len(task.annotations),
        num_people=sum(int((~one.ignored).sum()) for one in task.annotations),
        num_regions=sum(int(one.ignored.sum()) for one in task.annotations),
        num_detections=sum(len(one.scores) for one in task.detections),
        command=command,
    )
    path.write_text(page, encoding='utf-8')
