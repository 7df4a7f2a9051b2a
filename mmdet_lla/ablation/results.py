"""Tables of a study: JSON and CSV files of its runs, and Markdown tables of its comparisons."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..analysis.statistics import Estimate
from ..analysis.test_sets import LOWER_IS_BETTER, METRICS
from ..utils.files import atomic_write
from .compare import Comparison, significance
from .runs import Failure, Run, read_scalars, training_seconds, write_json
from .variants import ABSENT

MARKS = {'better': ' ▲', 'worse': ' ▼'}


def result_rows(runs: Sequence[Run], diffs: dict[str, dict], work_dir: Path) -> list[dict]:
    """Build a row per finished run, ordered by config and seed.

    Args:
        runs (Sequence[Run]): Runs of the study.
        diffs (dict[str, dict]): Differences to the first config, by config and dotted key.
        work_dir (Path): Directory that run directories are relative to.

    Returns:
        list[dict]: ``config``, ``seed``, the metrics (fractions of 1), ``train_seconds``,
        ``differs`` (by dotted key), ``path`` and ``work_dir``.
    """
    rows = []
    for run in runs:
        result = run.result()
        if result is None:
            continue
        rows.append(
            dict(
                config=run.variant.name,
                seed=run.seed,
                **{name: result['metrics'][name] for name in METRICS},
                train_seconds=round(training_seconds(read_scalars(run.training_dir)), 1),
                differs={key: own for key, (_, own) in diffs[run.variant.name].items()},
                path=run.variant.path,
                work_dir=str(run.work_dir.relative_to(work_dir)),
            )
        )
    order = {name: i for i, name in enumerate(diffs)}
    return sorted(rows, key=lambda row: (order[row['config']], row['seed']))


def write_results(
    work_dir: Path, rows: Sequence[dict], failures: Sequence[Failure], extra: dict | None = None
) -> None:
    """Write ``results.json`` and ``results.csv``.

    Args:
        work_dir (Path): Output directory.
        rows (Sequence[dict]): Return value of :func:`result_rows`.
        failures (Sequence[Failure]): Failed runs.
        extra (dict, optional): Further entries of the JSON file.
    """
    failed = [
        dict(
            config=failure.run.variant.name,
            seed=failure.run.seed,
            log=str(failure.log),
            reason=failure.reason,
        )
        for failure in failures
    ]
    write_json(work_dir / 'results.json', dict(runs=list(rows), failed=failed, **(extra or {})))
    with atomic_write(work_dir / 'results.csv') as file:
        file.write(to_csv(rows))


def to_csv(rows: Sequence[dict]) -> str:
    """Format the rows as CSV with a header."""
    columns = ('config', 'seed', *METRICS, 'train_seconds', 'differs', 'path')
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    for row in rows:
        metrics = {name: f'{row[name]:.6f}' for name in METRICS}
        writer.writerow({**row, **metrics, 'differs': format_diffs(row['differs'])})
    return file.getvalue()


def format_diffs(differs: dict[str, str]) -> str:
    """Format differences in one line.

    >>> format_diffs({'a.b': '1', 'c': '(absent)'})
    'a.b=1; c removed'
    """
    return '; '.join(
        f'{key} removed' if value == ABSENT else f'{key}={value}' for key, value in differs.items()
    )


def estimates_to_dict(comparisons: Sequence[Comparison]) -> dict[str, dict]:
    """Convert comparisons to plain values for JSON; :func:`read_comparisons` reads them."""

    def plain(estimates: dict[str, Estimate] | None) -> dict | None:
        return estimates and {metric: asdict(one) for metric, one in estimates.items()}

    return {
        one.name: dict(
            means=plain(one.means),
            differences=plain(one.differences),
            significance=one.differences
            and {metric: significance(metric, found) for metric, found in one.differences.items()},
        )
        for one in comparisons
    }


def read_comparisons(work_dir: Path) -> list[Comparison]:
    """Read the comparisons of a study from its ``results.json``.

    Raises:
        FileNotFoundError: There is no ``results.json``.
        ValueError: It holds no estimates because no report was written.
    """
    path = work_dir / 'results.json'
    if not path.is_file():
        raise FileNotFoundError(f'{path} not found: expected the work directory of a study')
    content = json.loads(path.read_text(encoding='utf-8'))
    if 'estimates' not in content:
        raise ValueError(f'{path} has no estimates; finish the study or run ablate --report-only')

    def parse(found: dict | None) -> dict[str, Estimate] | None:
        return found and {metric: Estimate(**numbers) for metric, numbers in found.items()}

    return [
        Comparison(name, parse(found['means']) or {}, parse(found['differences']))
        for name, found in content['estimates'].items()
    ]


def markdown_table(comparisons: Sequence[Comparison]) -> str:
    """Format means in percent with intervals; ▲ better, ▼ worse than the first config."""
    heads = [f'{metric} {"↓" if metric in LOWER_IS_BETTER else "↑"}' for metric in METRICS]
    lines = [['', *heads], ['---'] * (1 + len(METRICS))]
    for one in comparisons:
        lines.append([one.name, *(_cell(one, metric) for metric in METRICS)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(one: Comparison, metric: str) -> str:
    mean = one.means[metric]
    mark = MARKS.get(significance(metric, one.differences[metric]), '') if one.differences else ''
    return f'{100 * mean.value:.1f} ({100 * mean.low:.1f}-{100 * mean.high:.1f}){mark}'
