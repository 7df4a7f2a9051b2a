"""Trains and tests each config for each seed, and goes on where it stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .engines import Done, Engine, Failed, Job, LocalEngine, Said, Told
from .engines.processes import ToolFailed
from .progress import StudyProgress
from .runs import TOOLS, Run, train_and_test
from .variants import DIGEST_LENGTH, Variant


@dataclass(frozen=True)
class Failure:
    """A run that failed.

    Attributes:
        run (Run): Which.
        log (Path): Where its tool wrote.
        reason (str): What happened, with the last lines of the log.
    """

    run: Run
    log: Path
    reason: str


def plan_runs(variants: Sequence[Variant], seeds: Sequence[int], work_dir: Path) -> list[Run]:
    """All runs of a study, every config of the first seed before those of the second.

    A config's folder is found by its digest, so a config that was changed gets another one, and two
    that say the same share theirs.
    """
    folders = {}
    for variant in variants:
        if variant.digest not in folders:
            folders[variant.digest] = next(
                iter(sorted(work_dir.glob(f'*-{variant.digest}'))),
                work_dir / f'{variant.stem}-{variant.digest}',
            )
    return [
        Run(variant, seed, folders[variant.digest] / f'seed{seed}')
        for seed in dict.fromkeys(seeds)
        for variant in variants
    ]


def outdated(variant: Variant, work_dir: Path) -> list[Path]:
    """Folders of the runs of a config of the same name that said something else."""
    pattern = re.compile(f'{re.escape(variant.stem)}-[0-9a-f]{{{DIGEST_LENGTH}}}')
    return sorted(
        folder
        for folder in work_dir.glob(f'{variant.stem}-*')
        if pattern.fullmatch(folder.name) and not folder.name.endswith(variant.digest)
    )


class Study:
    """Runs what is not done yet, some at once.

    Args:
        runs (Sequence[Run]): In the order they are started.
        engine (Engine, optional): Runs them. Defaults to this machine, one at a time.
        keep_checkpoints (bool): Whether the last checkpoint of a run stays after its test; False
            for none but those of ``kept_seed``. Defaults to True.
        kept_seed (int, optional): Its checkpoints stay always. Defaults to None.
        tools (Path): Folder of ``train.py`` and ``test.py``. Defaults to those of this package.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        engine: Engine | None = None,
        keep_checkpoints: bool = True,
        kept_seed: int | None = None,
        tools: Path = TOOLS,
    ) -> None:
        unique = {run.folder: run for run in reversed(runs)}
        self.runs = [run for run in runs if unique[run.folder] is run]
        self.engine = engine or LocalEngine(jobs=1)
        self.keep_checkpoints = keep_checkpoints
        self.kept_seed = kept_seed
        self.tools = tools

    def execute(
        self, progress: StudyProgress, on_done: Callable[[], None] | None = None
    ) -> list[Failure]:
        """Run all that has no result yet.

        Args:
            progress (StudyProgress): Is told how far every run is.
            on_done (Callable, optional): Called without arguments, in this thread, after each run
                that was done.

        Returns:
            list[Failure]: What failed.
        """
        waiting = {run.name: run for run in self.runs if run.result() is None}
        for run in self.runs:
            progress.add(run.name, done=run.name not in waiting)
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
            for name, run in waiting.items()
        ]
        failures: list[Failure] = []
        with closing(self.engine.run(jobs)) as events:
            for event in events:
                if isinstance(event, Told):
                    progress.update(*event)
                elif isinstance(event, Said):
                    progress.say(event.text)
                elif isinstance(event, Done):
                    metrics = event.result['metrics']
                    progress.finish(
                        event.name, '  '.join(f'{k} {v:.3f}' for k, v in metrics.items())
                    )
                    if on_done is not None:
                        on_done()
                elif isinstance(event, Failed):
                    failure = _failure(waiting[event.name], event.error)
                    progress.fail(event.name, failure.reason)
                    failures.append(failure)
                progress.refresh()
        return failures


def _failure(run: Run, error: Exception) -> Failure:
    if isinstance(error, ToolFailed):
        return Failure(run, error.log, str(error))
    return Failure(run, run.folder / 'train.log', f'{type(error).__name__}: {error}')
