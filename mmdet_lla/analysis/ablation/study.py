"""Trains and tests each config for each seed, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

import mmdet_lla

from .detections import TestSet, load_detections, summarize
from .processes import Processes, ToolFailed, parse_step
from .progress import StudyProgress
from .variants import DIGEST_LENGTH, Variant
from .versions import num_cores, versions

TOOLS = Path(mmdet_lla.__file__).parent / '.mim' / 'tools'
RESULT, STATE, CONFIG, DETECTIONS = 'result.json', 'state.json', 'config.py', 'detections.pkl'
TRAIN_SHARE = 0.9  # of a run's time, until it is done; the rest is its test
_CHECKPOINT = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Attributes:
        variant (Variant): The config.
        seed (int): Of the training.
        folder (Path): All that comes of it.
    """

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f'{self.variant.name}, seed {self.seed}'

    def result(self) -> dict | None:
        """What came of it; None while it is not done."""
        result = _read_json(self.folder / RESULT)
        return result if result and result['digest'] == self.variant.digest else None

    def checkpoint(self) -> Path | None:
        """The latest checkpoint that is whole."""
        return next(
            (path for _, path in _checkpoints(self.folder) if zipfile.is_zipfile(path)), None
        )


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
        jobs (int): How many at once; they share the cores.
        keep_checkpoints (bool): Whether the last checkpoint of a run stays after its test; False
            for none but those of ``kept_seed``. Defaults to True.
        kept_seed (int, optional): Its checkpoints stay always. Defaults to None.
        tools (Path): Folder of ``train.py`` and ``test.py``. Defaults to those of this package.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        jobs: int = 1,
        keep_checkpoints: bool = True,
        kept_seed: int | None = None,
        tools: Path = TOOLS,
    ) -> None:
        unique = {run.folder: run for run in reversed(runs)}
        self.runs = [run for run in runs if unique[run.folder] is run]
        self.jobs = jobs
        self.keep_checkpoints = keep_checkpoints
        self.kept_seed = kept_seed
        self.tools = tools
        self.threads = max(num_cores() // jobs, 1)
        self._test_sets: dict[str, TestSet] = {}
        self._lock = threading.Lock()

    def execute(self, progress: StudyProgress, on_done=None) -> list[Failure]:
        """Run all that has no result yet.

        Args:
            progress (StudyProgress): Is told how far every run is.
            on_done (Callable, optional): Called without arguments, in this thread, after each run
                that was done.

        Returns:
            list[Failure]: What failed.
        """
        waiting = [run for run in self.runs if run.result() is None]
        for run in self.runs:
            progress.add(run.name, done=run not in waiting)
        processes = Processes(
            {'OMP_NUM_THREADS': str(self.threads), 'MKL_NUM_THREADS': str(self.threads)}
        )
        failures: list[Failure] = []
        pool = ThreadPoolExecutor(self.jobs)
        try:
            pending: dict[Future, Run] = {
                pool.submit(self._run, run, processes, progress): run for run in waiting
            }
            while pending:
                # Woken now and then, for an interruption is seen between two waits.
                done, _ = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                progress.refresh()
                for future in done:
                    run = pending.pop(future)
                    failure = self._settle(run, future, progress)
                    if failure is not None:
                        failures.append(failure)
                    elif on_done is not None:
                        on_done()
        finally:
            # Nothing more is started, and nothing is left behind, however this ends.
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            pool.shutdown()
        return failures

    @staticmethod
    def _settle(run: Run, future: Future, progress: StudyProgress) -> Failure | None:
        log = run.folder / 'train.log'
        try:
            metrics = future.result()['metrics']
        except ToolFailed as error:
            log, reason = error.log, str(error)
        except (ValueError, TypeError, LookupError, OSError, RuntimeError) as error:
            reason = f'{type(error).__name__}: {error}'
        else:
            progress.finish(run.name, '  '.join(f'{k} {v:.3f}' for k, v in metrics.items()))
            return None
        progress.fail(run.name, reason)
        return Failure(run, log, reason)

    def _run(self, run: Run, processes: Processes, progress: StudyProgress) -> dict:
        """Train and test; gives the result, which is written too."""
        folder = run.folder
        folder.mkdir(parents=True, exist_ok=True)
        state = _read_json(folder / STATE) or dict(attempts=0, trained=False)
        cfg = run_config(run.variant.cfg, run.seed)
        cfg.dump(str(folder / CONFIG))
        commands = dict(
            train=[self.tools / 'train.py', folder / CONFIG, '--work-dir', folder, '--resume'],
            test=[
                self.tools / 'test.py',
                folder / CONFIG,
                '',
                '--work-dir',
                folder / 'test',
                '--out',
                folder / DETECTIONS,
            ],
        )
        state.update(attempts=state['attempts'] + 1)
        write_json(folder / STATE, state)
        if not (state['trained'] and run.checkpoint()):
            repair_checkpoints(folder)
            for line in processes.lines(commands['train'], folder / 'train.log'):
                step = parse_step(line)
                if step and step.phase == 'train':
                    done = step.fraction(cfg.train_cfg.get('max_epochs'))
                    progress.update(run.name, TRAIN_SHARE * done, _training_words(step, cfg))
            state.update(trained=True)
            write_json(folder / STATE, state)
        checkpoint = run.checkpoint()
        if checkpoint is None:
            raise ValueError(
                f'the training left no checkpoint in {folder}, expected one '
                '(default_hooks.checkpoint of the config)'
            )
        commands['test'][2] = checkpoint
        start = time.monotonic()
        for line in processes.lines(commands['test'], folder / 'test.log'):
            step = parse_step(line)
            if step and step.phase == 'test':
                progress.update(
                    run.name,
                    TRAIN_SHARE + (1 - TRAIN_SHARE) * step.fraction(),
                    f'test {step.done}/{step.total}',
                )
        test_seconds = time.monotonic() - start
        evaluated = self.test_set(run.variant).evaluate(load_detections(folder / DETECTIONS))
        if not (self.keep_checkpoints or run.seed == self.kept_seed):
            checkpoint = None
        result = dict(
            digest=run.variant.digest,
            config=run.variant.path,
            seed=run.seed,
            metrics=summarize(evaluated),
            num_pictures=len(evaluated.img_ids),
            num_people=len(evaluated.main.gt_picture),
            test_seconds=test_seconds,
            attempts=state['attempts'],
            threads=self.threads,
            jobs=self.jobs,
            commands={name: ['python', *map(str, command)] for name, command in commands.items()},
            checkpoint=checkpoint and checkpoint.name,
            versions=versions(),
        )
        remove_checkpoints(folder, but=checkpoint)
        write_json(folder / RESULT, result)
        return result

    def test_set(self, variant: Variant) -> TestSet:
        """Ground truth of a config, read once."""
        with self._lock:
            if variant.digest not in self._test_sets:
                self._test_sets[variant.digest] = TestSet(variant.cfg)
            return self._test_sets[variant.digest]


def _training_words(step, cfg: Config) -> str:
    if step.epoch is None:
        where = f'iteration {step.done}/{step.total}'
    else:
        where = f'epoch {step.epoch}/{cfg.train_cfg.get("max_epochs")}'
    return f'{where} loss {step.loss}' if step.loss else where


def run_config(cfg: Config, seed: int) -> Config:
    """Config of a run: with its seed, two checkpoints at most, and no validation at its end.

    Two, because mmengine removes the last but one before the last is written, and a training may be
    killed in between. The test that follows makes a validation at the end needless.
    """
    cfg = deepcopy(cfg)
    cfg.merge_from_dict({'randomness.seed': seed})
    cfg.setdefault('default_hooks', {})
    checkpoint = cfg.default_hooks.get('checkpoint') or dict(type='CheckpointHook', interval=1)
    cfg.default_hooks['checkpoint'] = {**checkpoint, 'max_keep_ckpts': 2}
    length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')
    if length and cfg.train_cfg.get('val_interval', 1) >= length:
        cfg.train_cfg['val_begin'] = length + 1
    return cfg


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints of a work directory and their steps, the latest first."""
    found = ((_CHECKPOINT.fullmatch(path.name), path) for path in folder.glob('*.pth'))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def repair_checkpoints(folder: Path) -> None:
    """Let mmengine resume from the latest checkpoint that is whole.

    A training that was killed while it wrote one leaves a part of a file, or a note of the last
    checkpoint that leads nowhere.
    """
    whole = None
    for _, path in _checkpoints(folder):
        if whole is None and zipfile.is_zipfile(path):
            whole = path
        elif whole is None:
            path.unlink()
    note = folder / 'last_checkpoint'
    if whole is None:
        note.unlink(missing_ok=True)
    else:
        note.write_text(str(whole.resolve()), encoding='utf-8')


def remove_checkpoints(folder: Path, but: Path | None = None) -> None:
    """Remove the checkpoints of a work directory, all but one or all."""
    for _, path in _checkpoints(folder):
        if path != but:
            path.unlink()


def write_json(path: Path, content) -> None:
    """Write a file that is there as a whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    part = path.with_name(f'.{path.name}.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, path)


def _read_json(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None
