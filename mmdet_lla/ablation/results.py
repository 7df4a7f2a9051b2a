"""Tables of what came of the runs, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..analysis.test_sets import METRICS
from .runs import Run, write_json, write_text
from .study import Failure
from .training_curves import read_scalars, training_seconds
from .variants import ABSENT, Variant, differences


def config_differences(variants: Sequence[Variant]) -> dict[str, dict[str, tuple[str, str]]]:
    """What differs from the first config, by name; see ``differences``."""
    base = variants[0].cfg
    return {variant.name: differences(base, variant.cfg) for variant in variants}


def rows_of(runs: Sequence[Run], differing: dict[str, dict], work_dir: Path) -> list[dict]:
    """A row for every run that is done.

    Args:
        runs (Sequence[Run]): Of the study.
        differing (dict[str, dict]): What ``config_differences`` gives.
        work_dir (Path): Where folders are named from.

    Returns:
        list[dict]: ``config``, ``seed``, the metrics (fractions of 1), ``train_seconds``,
        ``differs`` (from the first config, by dotted key), ``path`` and ``folder``; by config, then
        seed.
    """
    rows = []
    for run in runs:
        result = run.result()
        if result is None:
            continue
        differs = {key: own for key, (_, own) in differing[run.variant.name].items()}
        rows.append(
            dict(
                config=run.variant.name,
                seed=run.seed,
                **{name: result['metrics'][name] for name in METRICS},
                train_seconds=round(training_seconds(read_scalars(run.training_folder)), 1),
                differs=differs,
                path=run.variant.path,
                folder=str(run.folder.relative_to(work_dir)),
            )
        )
    order = {name: i for i, name in enumerate(differing)}
    return sorted(rows, key=lambda row: (order[row['config']], row['seed']))


def write_results(
    work_dir: Path, rows: Sequence[dict], failures: Sequence[Failure], more: dict | None = None
) -> None:
    """Write ``results.json`` and ``results.csv``.

    Args:
        work_dir (Path): Where.
        rows (Sequence[dict]): What ``rows_of`` gives.
        failures (Sequence[Failure]): Runs that failed.
        more (dict, optional): Further entries of the JSON file.
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
    write_json(work_dir / 'results.json', dict(runs=list(rows), failed=failed, **(more or {})))
    write_text(work_dir / 'results.csv', csv_of(rows))


def csv_of(rows: Sequence[dict]) -> str:
    """The rows as CSV, a header first."""
    columns = ('config', 'seed', *METRICS, 'train_seconds', 'differs', 'path')
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    for row in rows:
        metrics = {name: f'{row[name]:.6f}' for name in METRICS}
        writer.writerow({**row, **metrics, 'differs': in_short(row['differs'])})
    return file.getvalue()


def in_short(differs: dict[str, str]) -> str:
    """Differences in one line."""
    return '; '.join(
        f'{key} removed' if value == ABSENT else f'{key}={value}' for key, value in differs.items()
    )
