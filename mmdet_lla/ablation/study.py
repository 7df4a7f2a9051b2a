"""Train and test each config with each seed; an interrupted study continues where it stopped."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.config import Config

from .engines import Engine, Job, JobError, JobMessage, JobProgress, JobResult, LocalEngine
from .engines.tools import ToolFailed
from .progress import StudyProgress
from .report import write_report
from .results import estimates_to_dict, result_rows, write_results
from .runs import CONFIG, TOOLS, Failure, Run, remove_checkpoints, run_config, train_and_test
from .variants import DIGEST_LENGTH, Variant, diff_configs, load_variants

#: Config entries that determine the training; all others concern the test or the machine.
_TRAINING = ('model', 'train_', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'randomness')
_TEST_ONLY = 'model.test_cfg'


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
    sweeps: Sequence[str] = (),
) -> list[Failure]:
    """Train and test each config with each seed, skip finished runs, and write a report.

    Args:
        configs (Sequence[str]): ``path`` or ``NAME=path``, the baseline first.
        seeds (Sequence[int]): One run of each config per seed.
        work_dir (Path): Output directory of ``results.json``, ``results.csv``, ``report.html``
            and a directory per config.
        engine (Engine, optional): Runs the jobs. Defaults to this machine, one per GPU at a time.
        options (Mapping, optional): Values merged into each config, by dotted key.
        keep_checkpoints (bool): Whether to keep the last checkpoint of a run. Defaults to True.
        train (bool): False only reports finished runs. Defaults to True.
        weights_of (Path, optional): Work directory of another study of the same configs and seeds.
            Its weights are tested; only test settings may differ. Defaults to None, which trains.
        command (Sequence[str]): Command line, for the report.
        sweeps (Sequence[str]): ``KEY=V1,V2,...``: variations of the first config.

    Raises:
        FileNotFoundError: A config, a data file or a checkpoint does not exist.
        ValueError: A config lacks an entry, names are not unique, another study runs in
            ``work_dir``, or ``weights_of`` lacks a run or has other training settings.
    """
    variants = load_variants(configs, options, sweeps)
    runs = plan_runs(variants, seeds, work_dir)
    if weights_of is not None:
        runs = use_weights_of(runs, weights_of)
    work_dir.mkdir(parents=True, exist_ok=True)
    base = variants[0].cfg
    diffs = {variant.name: diff_configs(base, variant.cfg) for variant in variants}
    failures = []
    if train:
        failures = _execute(
            variants, runs, work_dir, engine or LocalEngine(), keep_checkpoints, diffs
        )
    rows = result_rows(runs, diffs, work_dir)
    write_results(work_dir, rows, failures)
    if rows:
        comparisons = write_report(
            work_dir / 'report.html', variants, runs, rows, diffs, failures, shlex.join(command)
        )
        write_results(work_dir, rows, failures, dict(estimates=estimates_to_dict(comparisons)))
    if train and not keep_checkpoints:
        for run in runs:
            # The report draws assignments with the checkpoints of the first seed.
            if run.result() is not None:
                remove_checkpoints(run.work_dir)
    return failures


def _execute(
    variants: list[Variant],
    runs: list[Run],
    work_dir: Path,
    engine: Engine,
    keep_checkpoints: bool,
    diffs: dict,
) -> list[Failure]:
    lock = FileLock(work_dir / '.lock')
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f'another study runs in {work_dir}; choose another --work-dir, or use --report-only'
        ) from None
    progress = StudyProgress()
    try:
        for variant in variants:
            old = [path.name for path in find_outdated(variant, work_dir)]
            if old and not any(run.work_dir.exists() for run in runs if run.variant is variant):
                progress.write(
                    f'{variant.name}: config or data differ from those of {", ".join(old)}; '
                    'it is trained anew, the old runs are kept'
                )
        study = Study(runs, engine, keep_checkpoints, kept_seed=runs[0].seed)
        return study.execute(
            progress,
            on_result=lambda: write_results(work_dir, result_rows(runs, diffs, work_dir), []),
        )
    finally:
        progress.close()
        lock.release()


def plan_runs(variants: Sequence[Variant], seeds: Sequence[int], work_dir: Path) -> list[Run]:
    """List all runs of a study, all configs of the first seed before those of the second.

    A config's directory is found by its digest, so a changed config gets another directory and
    equal configs share one.
    """
    dirs = {}
    for variant in variants:
        if variant.digest not in dirs:
            dirs[variant.digest] = next(
                iter(sorted(work_dir.glob(f'*-{variant.digest}'))),
                work_dir / f'{variant.stem}-{variant.digest}',
            )
    return [
        Run(variant, seed, dirs[variant.digest] / f'seed{seed}')
        for seed in dict.fromkeys(seeds)
        for variant in variants
    ]


def find_outdated(variant: Variant, work_dir: Path) -> list[Path]:
    """List directories of runs of a config with the same file name but other content."""
    pattern = re.compile(f'{re.escape(variant.stem)}-[0-9a-f]{{{DIGEST_LENGTH}}}')
    return sorted(
        path
        for path in work_dir.glob(f'{variant.stem}-*')
        if pattern.fullmatch(path.name) and not path.name.endswith(variant.digest)
    )


class Study:
    """Executes the unfinished runs of a study, several at once.

    Args:
        runs (Sequence[Run]): Runs in starting order.
        engine (Engine, optional): Runs the jobs. Defaults to this machine, one at a time.
        keep_checkpoints (bool): Whether to keep the last checkpoint of a run after its test; False
            keeps those of ``kept_seed`` only. Defaults to True.
        kept_seed (int, optional): Seed whose checkpoints are always kept. Defaults to None.
        tools (Path): Directory of ``train.py`` and ``test.py``. Defaults to those of this package.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        engine: Engine | None = None,
        keep_checkpoints: bool = True,
        kept_seed: int | None = None,
        tools: Path = TOOLS,
    ) -> None:
        unique = {run.work_dir: run for run in reversed(runs)}
        self.runs = [run for run in runs if unique[run.work_dir] is run]
        self.engine = engine or LocalEngine(jobs=1)
        self.keep_checkpoints = keep_checkpoints
        self.kept_seed = kept_seed
        self.tools = tools

    def execute(
        self, progress: StudyProgress, on_result: Callable[[], None] | None = None
    ) -> list[Failure]:
        """Execute all runs without a result.

        Args:
            progress (StudyProgress): Receives the progress of all runs.
            on_result (Callable, optional): Called without arguments, in this thread, after each
                finished run.
        """
        remaining = {run.name: run for run in self.runs if run.result() is None}
        for run in self.runs:
            progress.add(run.name, done=run.name not in remaining)
        jobs = [
            Job(
                name,
                partial(
                    train_and_test,
                    run,
                    self.keep_checkpoints or run.seed == self.kept_seed,
                    self.tools,
                ),
                run.variant.data,
            )
            for name, run in remaining.items()
        ]
        failures: list[Failure] = []
        with closing(self.engine.run(jobs)) as events:
            for event in events:
                if isinstance(event, JobProgress):
                    progress.update(*event)
                elif isinstance(event, JobMessage):
                    progress.write(event.text)
                elif isinstance(event, JobResult):
                    metrics = event.result['metrics']
                    progress.finish(
                        event.name, '  '.join(f'{k} {v:.3f}' for k, v in metrics.items())
                    )
                    if on_result is not None:
                        on_result()
                elif isinstance(event, JobError):
                    failure = _to_failure(remaining[event.name], event.error)
                    progress.fail(event.name, failure.reason)
                    failures.append(failure)
                progress.refresh()
        return failures


def _to_failure(run: Run, error: Exception) -> Failure:
    if isinstance(error, ToolFailed):
        return Failure(run, error.log, str(error))
    return Failure(run, run.work_dir / 'train.log', f'{type(error).__name__}: {error}')


def use_weights_of(runs: Sequence[Run], study: Path) -> list[Run]:
    """Return the runs with the training directories of another study.

    Raises:
        FileNotFoundError: There is no study, or a run kept no checkpoint.
        ValueError: The other study lacks a run, or trained it with other settings.
    """
    results = study / 'results.json'
    if not results.is_file():
        raise FileNotFoundError(f'{results} not found: expected the work directory of a study')
    rows = json.loads(results.read_text(encoding='utf-8'))['runs']
    dirs = {
        (row['config'], row['seed']): study / (row.get('work_dir') or row['folder']) for row in rows
    }
    return [_use_weights(run, dirs, study) for run in runs]


def _use_weights(run: Run, dirs: dict[tuple[str, int], Path], study: Path) -> Run:
    weights_dir = dirs.get((run.variant.name, run.seed))
    if weights_dir is None:
        available = ', '.join(f'{name}, seed {seed}' for name, seed in dirs) or 'none'
        raise ValueError(f'{study} has no finished run {run.name}; available: {available}')
    found = replace(run, weights_dir=weights_dir)
    if found.checkpoint() is None:
        raise FileNotFoundError(
            f'no checkpoint in {weights_dir}: run the study without --no-checkpoints'
        )
    cfg = run_config(run.variant.cfg, run.seed)
    diffs = {
        key: values
        for key, values in diff_configs(Config.fromfile(weights_dir / CONFIG), cfg).items()
        if key.startswith(_TRAINING) and not key.startswith(_TEST_ONLY)
    }
    if diffs:
        key, (before, now) = next(iter(diffs.items()))
        raise ValueError(
            f'{run.name}: {key} is {now}, but {before} in the training of {weights_dir}; only '
            'test settings may differ'
        )
    return found
