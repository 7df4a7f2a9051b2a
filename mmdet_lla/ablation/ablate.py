"""A whole study in one call."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from .engines import Engine, LocalEngine
from .progress import StudyProgress
from .report import estimates, write_report
from .results import config_differences, rows_of, write_results
from .retest import with_weights_of
from .runs import Run, remove_checkpoints
from .study import Failure, Study, outdated, plan_runs
from .variants import Variant, load_variants


def ablate(
    configs: Sequence[str],
    seeds: Sequence[int],
    work_dir: Path,
    engine: Engine | None = None,
    options: Mapping | None = None,
    keep_checkpoints: bool = True,
    train: bool = True,
    weights_of: Path | None = None,
    command: Sequence[str] = (),
) -> list[Failure]:
    """Train and test each config for each seed, as far as it is not done; write what came of it.

    Args:
        configs (Sequence[str]): ``path`` or ``NAME=path``, the baseline first.
        seeds (Sequence[int]): One run of each config for each.
        work_dir (Path): Where everything goes: ``results.json``, ``results.csv``,
            ``report.html``, and a folder for each config.
        engine (Engine, optional): Does the runs. Defaults to this machine, one a GPU at a time.
        options (Mapping, optional): Merged into each config, keys with dots.
        keep_checkpoints (bool): Whether the last checkpoint of a run stays. Defaults to True.
        train (bool): False writes of what is done alone. Defaults to True.
        weights_of (Path, optional): Work directory of another study of the same configs and seeds,
            whose weights are tested; only settings of the test may differ. Defaults to None, which
            trains them.
        command (Sequence[str]): How this was called, for the report.

    Returns:
        list[Failure]: The runs that failed.

    Raises:
        FileNotFoundError: A config, a file of its data or a checkpoint is not there.
        ValueError: A config lacks something, names are not different, another study runs in
            ``work_dir``, or ``weights_of`` has no such run or one with other settings.
    """
    variants = load_variants(configs, options)
    runs = plan_runs(variants, seeds, work_dir)
    if weights_of is not None:
        runs = with_weights_of(runs, weights_of)
    work_dir.mkdir(parents=True, exist_ok=True)
    differing = config_differences(variants)
    failures = []
    if train:
        failures = _execute(
            variants, runs, work_dir, engine or LocalEngine(), keep_checkpoints, differing
        )
    rows = rows_of(runs, differing, work_dir)
    write_results(work_dir, rows, failures)
    if rows:
        weighed = write_report(
            work_dir / 'report.html', variants, runs, rows, differing, failures, shlex.join(command)
        )
        write_results(work_dir, rows, failures, dict(estimates=estimates(weighed)))
    if train and not keep_checkpoints:
        for run in runs:
            # Those of the first seed had to wait for the report's pictures.
            if run.result() is not None:
                remove_checkpoints(run.folder)
    return failures


def _execute(
    variants: list[Variant],
    runs: list[Run],
    work_dir: Path,
    engine: Engine,
    keep_checkpoints: bool,
    differing: dict,
) -> list[Failure]:
    lock = FileLock(work_dir / '.lock')
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f'another study runs in {work_dir}; give this one another --work-dir, or --report-only'
        ) from None
    progress = StudyProgress()
    try:
        for variant in variants:
            old = [folder.name for folder in outdated(variant, work_dir)]
            if old and not any(run.folder.exists() for run in runs if run.variant is variant):
                progress.say(
                    f'{variant.name}: the config or its data are not those of '
                    f'{", ".join(old)}; it is trained anew, the old runs stay there'
                )
        study = Study(runs, engine, keep_checkpoints, kept_seed=runs[0].seed)
        return study.execute(
            progress,
            on_done=lambda: write_results(work_dir, rows_of(runs, differing, work_dir), []),
        )
    finally:
        progress.close()
        lock.release()
