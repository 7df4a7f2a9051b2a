"""One run of a study: a config trained and tested with a seed, and what is in its folder."""

from __future__ import annotations

import json
import os
import platform
import re
import threading
import time
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.config import Config

import mmdet_lla

from ..analysis.test_sets import TestSet, load_detections, summarize
from .engines import Place
from .engines.processes import parse_step
from .variants import Variant
from .versions import versions

TOOLS = Path(mmdet_lla.__file__).parent / '.mim' / 'tools'
RESULT, STATE, CONFIG, DETECTIONS = 'result.json', 'state.json', 'config.py', 'detections.pkl'
TRAIN_SHARE = 0.9  # of a run's time, until it is done; the rest is its test
LOCK_WAIT_S = 60.0  # a process that lost its machine or its driver ends within that
_CHECKPOINT = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_TEST_SETS: dict[str, TestSet] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Attributes:
        variant (Variant): The config.
        seed (int): Of the training.
        folder (Path): All that comes of it.
        weights (Path, optional): Folder of a run of another study that trained them. Defaults to
            None, which trains here.
    """

    variant: Variant
    seed: int
    folder: Path
    weights: Path | None = None

    @property
    def name(self) -> str:
        return f'{self.variant.name}, seed {self.seed}'

    def result(self) -> dict | None:
        """What came of it; None while it is not done."""
        result = _read_json(self.folder / RESULT)
        if not result or result['digest'] != self.variant.digest:
            return None
        return result if result.get('weights') == self.training_name else None

    @property
    def training_folder(self) -> Path:
        """Where it was trained."""
        return self.weights or self.folder

    @property
    def training_name(self) -> str | None:
        """Names the training: the digest of its config and its seed."""
        return '/'.join(self.weights.parts[-2:]) if self.weights else None

    def checkpoint(self) -> Path | None:
        """The latest checkpoint that is whole."""
        return next(
            (path for _, path in _checkpoints(self.training_folder) if zipfile.is_zipfile(path)),
            None,
        )


def train_and_test(run: Run, keep_checkpoint: bool, tools: Path, place: Place) -> dict:
    """Train and test as far as it is not done; gives the result, which is written too.

    Args:
        run (Run): Which.
        keep_checkpoint (bool): Whether the last checkpoint stays after the test.
        tools (Path): Folder of ``train.py`` and ``test.py``.
        place (Place): Runs them.

    Raises:
        ToolFailed: Training or test ended with an error.
        ValueError: The training left no checkpoint.
        RuntimeError: Somebody else works in the run's folder, and went on.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.folder / '.lock', timeout=LOCK_WAIT_S):
            # Who held the lock, a lost machine that was none, may have finished it.
            return run.result() or _train_and_test(run, keep_checkpoint, tools, place)
    except Timeout:
        raise RuntimeError(
            f'another process works in {run.folder}, and did not end within {LOCK_WAIT_S:.0f} s'
        ) from None


def _train_and_test(run: Run, keep_checkpoint: bool, tools: Path, place: Place) -> dict:
    folder = run.folder
    state = _read_json(folder / STATE) or dict(attempts=0, trained=run.weights is not None)
    cfg = run_config(run.variant.cfg, run.seed)
    cfg.dump(str(folder / CONFIG))
    commands = dict(
        train=[tools / 'train.py', folder / CONFIG, '--work-dir', folder, '--resume'],
        test=[
            tools / 'test.py',
            folder / CONFIG,
            '',
            '--work-dir',
            folder / 'test',
            '--out',
            folder / DETECTIONS,
        ],
    )
    state.update(attempts=state['attempts'] + 1, host=platform.node())
    write_json(folder / STATE, state)
    if not (state['trained'] and run.checkpoint()):
        repair_checkpoints(folder)
        for line in place.lines(commands['train'], folder / 'train.log'):
            step = parse_step(line)
            if step and step.phase == 'train':
                done = step.fraction(cfg.train_cfg.get('max_epochs'))
                place.tell(TRAIN_SHARE * done, _training_words(step, cfg))
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
    for line in place.lines(commands['test'], folder / 'test.log'):
        step = parse_step(line)
        if step and step.phase == 'test':
            place.tell(
                TRAIN_SHARE + (1 - TRAIN_SHARE) * step.fraction(),
                f'test {step.done}/{step.total}',
            )
    test_seconds = time.monotonic() - start
    evaluated = ground_truth(run.variant).evaluate(load_detections(folder / DETECTIONS))
    if run.weights is not None:
        commands.pop('train')
    if not keep_checkpoint or run.weights is not None:
        checkpoint = None
    result = dict(
        digest=run.variant.digest,
        weights=run.training_name,
        config=run.variant.path,
        seed=run.seed,
        metrics=summarize(evaluated),
        num_pictures=len(evaluated.img_ids),
        num_people=len(evaluated.main.gt_picture),
        test_seconds=test_seconds,
        attempts=state['attempts'],
        threads=place.cpus,
        gpus=place.gpus,
        commands={name: ['python', *map(str, command)] for name, command in commands.items()},
        checkpoint=checkpoint and checkpoint.name,
        versions=versions(),
    )
    remove_checkpoints(folder, but=checkpoint)
    write_json(folder / RESULT, result)
    return result


def ground_truth(variant: Variant) -> TestSet:
    """Ground truth of a config, read once a process."""
    with _LOCK:
        if variant.digest not in _TEST_SETS:
            _TEST_SETS[variant.digest] = TestSet(variant.cfg)
        return _TEST_SETS[variant.digest]


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
