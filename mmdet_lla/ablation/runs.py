"""One run of a study: train and test a config with one seed, and read what its directory holds."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import mmcv
import mmdet
import mmengine
import numpy as np
import torch
from filelock import FileLock, Timeout
from mmengine.config import Config

import mmdet_lla

from ..analysis.test_sets import TestSet, summarize
from ..utils.files import atomic_write
from ..utils.threads import count_cores
from .engines import JobContext
from .engines.tools import Step, parse_step
from .variants import Variant

TOOLS = Path(mmdet_lla.__file__).parent / '.mim' / 'tools'
RESULT, STATE, CONFIG, DETECTIONS = 'result.json', 'state.json', 'config.py', 'detections.pkl'
TRAIN_FRACTION = 0.9  # of a run's progress; the rest is its test
LOCK_WAIT_S = 60.0  # a process that lost its machine or driver ends within this time
_CHECKPOINT = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_TEST_SETS: dict[str, TestSet] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Attributes:
        variant (Variant): The config.
        seed (int): Seed of the training.
        work_dir (Path): Directory of all its files.
        weights_dir (Path, optional): Directory of a run of another study whose weights are tested.
            Defaults to None, which trains here.
    """

    variant: Variant
    seed: int
    work_dir: Path
    weights_dir: Path | None = None

    @property
    def name(self) -> str:
        """Name for logs and reports."""
        return f'{self.variant.name}, seed {self.seed}'

    @property
    def training_dir(self) -> Path:
        """Directory of the training."""
        return self.weights_dir or self.work_dir

    @property
    def training_id(self) -> str | None:
        """Digest and seed of the training in another study."""
        return '/'.join(self.weights_dir.parts[-2:]) if self.weights_dir else None

    def result(self) -> dict | None:
        """Return the result; None while the run is not finished."""
        result = _read_json(self.work_dir / RESULT)
        if not result or result['digest'] != self.variant.digest:
            return None
        return result if result.get('weights') == self.training_id else None

    def checkpoint(self) -> Path | None:
        """Return the latest complete checkpoint."""
        return next(
            (path for _, path in _checkpoints(self.training_dir) if zipfile.is_zipfile(path)), None
        )


@dataclass(frozen=True)
class Failure:
    """A failed run.

    Attributes:
        run (Run): The run.
        log (Path): Log of the tool that failed.
        reason (str): Error message with the last lines of the log.
    """

    run: Run
    log: Path
    reason: str


def train_and_test(run: Run, keep_checkpoint: bool, tools: Path, context: JobContext) -> dict:
    """Do what is left of a run's training and test; return and write the result.

    Args:
        run (Run): The run.
        keep_checkpoint (bool): Whether to keep the last checkpoint after the test.
        tools (Path): Directory of ``train.py`` and ``test.py``.
        context (JobContext): Runs the tools.

    Raises:
        ToolFailed: Training or test ended with an error.
        ValueError: The training left no checkpoint.
        RuntimeError: Another process keeps working in the run's directory.
    """
    run.work_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.work_dir / '.lock', timeout=LOCK_WAIT_S):
            # The previous holder of the lock, on a node believed lost, may have finished the run.
            return run.result() or _train_and_test(run, keep_checkpoint, tools, context)
    except Timeout:
        raise RuntimeError(
            f'another process works in {run.work_dir} and did not end within {LOCK_WAIT_S:.0f} s'
        ) from None


def _train_and_test(run: Run, keep_checkpoint: bool, tools: Path, context: JobContext) -> dict:
    work_dir = run.work_dir
    state = _read_json(work_dir / STATE) or dict(attempts=0, trained=run.weights_dir is not None)
    cfg = run_config(run.variant.cfg, run.seed)
    cfg.dump(str(work_dir / CONFIG))
    commands = {}
    state.update(attempts=state['attempts'] + 1, host=platform.node())
    write_json(work_dir / STATE, state)
    if run.weights_dir is None:
        commands['train'] = [
            tools / 'train.py', work_dir / CONFIG, '--work-dir', work_dir, '--resume'
        ]  # fmt: skip
    if not (state['trained'] and run.checkpoint()):
        repair_checkpoints(work_dir)
        for line in context.run_tool(commands['train'], work_dir / 'train.log'):
            step = parse_step(line)
            if step and step.phase == 'train':
                fraction = step.fraction(cfg.train_cfg.get('max_epochs'))
                context.report(TRAIN_FRACTION * fraction, _training_status(step, cfg))
        state.update(trained=True)
        write_json(work_dir / STATE, state)
    checkpoint = run.checkpoint()
    if checkpoint is None:
        raise ValueError(
            f'the training left no checkpoint in {work_dir}, expected one '
            '(default_hooks.checkpoint of the config)'
        )
    commands['test'] = [
        tools / 'test.py', work_dir / CONFIG, checkpoint,
        '--work-dir', work_dir / 'test', '--out', work_dir / DETECTIONS,
    ]  # fmt: skip
    start = time.monotonic()
    for line in context.run_tool(commands['test'], work_dir / 'test.log'):
        step = parse_step(line)
        if step and step.phase == 'test':
            context.report(
                TRAIN_FRACTION + (1 - TRAIN_FRACTION) * step.fraction(),
                f'test {step.done}/{step.total}',
            )
    test_seconds = time.monotonic() - start
    test_set = _test_set(run.variant)
    evaluated = test_set.evaluate(test_set.read_detections(work_dir / DETECTIONS))
    kept = checkpoint if keep_checkpoint and run.weights_dir is None else None
    result = dict(
        digest=run.variant.digest,
        weights=run.training_id,
        config=run.variant.path,
        seed=run.seed,
        metrics=summarize(evaluated),
        num_images=len(evaluated.img_ids),
        num_gts=len(evaluated.main.gt_image),
        test_seconds=test_seconds,
        attempts=state['attempts'],
        threads=context.cpus,
        gpus=context.gpus,
        commands={name: ['python', *map(str, command)] for name, command in commands.items()},
        checkpoint=kept and kept.name,
        versions=collect_versions(),
    )
    remove_checkpoints(work_dir, keep=kept)
    write_json(work_dir / RESULT, result)
    return result


def _test_set(variant: Variant) -> TestSet:
    """Load the test set of a config once per process."""
    with _LOCK:
        if variant.digest not in _TEST_SETS:
            _TEST_SETS[variant.digest] = TestSet(variant.cfg)
        return _TEST_SETS[variant.digest]


def _training_status(step: Step, cfg: Config) -> str:
    if step.epoch is None:
        position = f'iteration {step.done}/{step.total}'
    else:
        position = f'epoch {step.epoch}/{cfg.train_cfg.get("max_epochs")}'
    return f'{position} loss {step.loss}' if step.loss else position


def run_config(cfg: Config, seed: int) -> Config:
    """Derive the config of a run: its seed, at most two checkpoints, no validation at the end.

    mmengine removes the second to last checkpoint before it writes the last, so one would be lost
    if the training is killed in between. The test replaces the last validation.
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


def _checkpoints(work_dir: Path) -> list[tuple[int, Path]]:
    """List checkpoints with their steps, the latest first."""
    found = ((_CHECKPOINT.fullmatch(path.name), path) for path in work_dir.glob('*.pth'))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def repair_checkpoints(work_dir: Path) -> None:
    """Make mmengine resume from the latest complete checkpoint.

    A training that is killed while it writes a checkpoint leaves a partial file, or a
    ``last_checkpoint`` that points to a missing one.
    """
    complete = None
    for _, path in _checkpoints(work_dir):
        if complete is None and zipfile.is_zipfile(path):
            complete = path
        elif complete is None:
            path.unlink()
    pointer = work_dir / 'last_checkpoint'
    if complete is None:
        pointer.unlink(missing_ok=True)
    else:
        pointer.write_text(str(complete.resolve()), encoding='utf-8')


def remove_checkpoints(work_dir: Path, keep: Path | None = None) -> None:
    """Remove all checkpoints of a work directory but one, or all."""
    for _, path in _checkpoints(work_dir):
        if path != keep:
            path.unlink()


def write_json(path: Path, content) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2) + '\n')


def _read_json(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None


def read_scalars(work_dir: Path) -> list[dict]:
    """Read the training scalars of a work directory; resumed trainings are joined.

    Args:
        work_dir (Path): Value of ``--work-dir``.

    Returns:
        list[dict]: By increasing ``step``, with ``loss``, ``time`` and all else that was logged. Of
        steps that occur twice, the later record.
    """
    records: list[dict] = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for record in _parse_lines(path.read_text(encoding='utf-8').splitlines()):
            if 'loss' in record and 'step' in record:
                # A resumed training repeats the steps after its checkpoint.
                while records and records[-1]['step'] >= record['step']:
                    records.pop()
                records.append(record)
    return records


def _parse_lines(lines: Iterable[str]) -> Iterable[dict]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # cut off when the training was killed
            continue


def training_seconds(records: Sequence[dict]) -> float:
    """Estimate the duration of an undisturbed training: median iteration time x iterations.

    Args:
        records (Sequence[dict]): Scalars by increasing ``step``, with ``time`` in seconds.

    >>> training_seconds([dict(step=10, time=0.5), dict(step=20, time=0.5)])
    10.0
    """
    times = [record['time'] for record in records if 'time' in record]
    return float(np.median(times)) * records[-1]['step'] if times else 0.0


def collect_versions() -> dict[str, str | int | None]:
    """Return versions of the packages, the commit of a checkout, and the machine."""
    found: dict[str, str | int | None] = {'python': platform.python_version()}
    for package in (torch, mmengine, mmcv, mmdet, mmdet_lla, np):
        found[package.__name__] = str(package.__version__)
    found['commit'] = _commit()
    found['cpu'] = _cpu_model()
    found['cores'] = count_cores()
    found['gpu'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def _commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with a + if it is modified."""

    def git(*args: str) -> str:
        return subprocess.run(
            ['git', '-C', str(package), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    package = Path(mmdet_lla.__file__).parent
    try:
        # The package may be installed inside another repository.
        if git('ls-files', '--', '__init__.py') != '__init__.py':
            return None
        changed = git('status', '--porcelain', '--untracked-files=no', '--', str(package))
        return git('rev-parse', '--short=12', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_model() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    return next(models, platform.machine())
