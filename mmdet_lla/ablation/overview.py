"""Studies of the same configs on other data, beside each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..analysis.statistics import Estimate
from ..analysis.test_sets import METRICS
from .evidence import LOWER_IS_BETTER, Weighed, verdict

MARKS = {'better': ' ▲', 'worse': ' ▼'}


def read_weighed(work_dir: Path) -> list[Weighed]:
    """The numbers of a study, as its ``results.json`` holds them.

    Args:
        work_dir (Path): Of the study.

    Returns:
        list[Weighed]: One a config, the baseline first.

    Raises:
        FileNotFoundError: There is no ``results.json``.
        ValueError: It holds no estimates yet, for no report was written.
    """
    path = work_dir / 'results.json'
    if not path.is_file():
        raise FileNotFoundError(f'no study in {work_dir}: {path} is not there')
    content = json.loads(path.read_text(encoding='utf-8'))
    if 'estimates' not in content:
        raise ValueError(
            f'{path} has no estimates; finish the study, or run tools/ablate.py with --report-only'
        )
    return [
        Weighed(
            name,
            _estimates(found['means']),
            None if found['differences'] is None else _estimates(found['differences']),
        )
        for name, found in content['estimates'].items()
    ]


def _estimates(found: dict) -> dict[str, Estimate]:
    return {metric: Estimate(**numbers) for metric, numbers in found.items()}


def markdown_table(weighed: Sequence[Weighed]) -> str:
    """Means in percent with their intervals; marks where a config differs from the first.

    Args:
        weighed (Sequence[Weighed]): The baseline first.

    Returns:
        str: A table in Markdown; ▲ better, ▼ worse than the baseline, by the paired difference.
    """
    heads = [f'{metric} {"↓" if metric in LOWER_IS_BETTER else "↑"}' for metric in METRICS]
    lines = [['', *heads], ['---'] * (1 + len(METRICS))]
    for one in weighed:
        lines.append([one.name, *(_cell(one, metric) for metric in METRICS)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(one: Weighed, metric: str) -> str:
    mean = one.means[metric]
    mark = MARKS.get(verdict(metric, one.differences[metric]), '') if one.differences else ''
    return f'{100 * mean.value:.1f} ({100 * mean.low:.1f}-{100 * mean.high:.1f}){mark}'
