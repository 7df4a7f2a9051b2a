"""Finds the trainings of another study, whose weights are to be tested on other data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from .runs import CONFIG, Run, run_config
from .variants import differences

#: Entries of a config that say what is trained and how; the others are a test's, or the machine's.
_TRAINING = ('model', 'train_', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'randomness')
_OF_A_TEST = 'model.test_cfg'


def with_weights_of(runs: Sequence[Run], study: Path) -> list[Run]:
    """The runs, each with the folder of its training in another study.

    Args:
        runs (Sequence[Run]): Their names and seeds say which training is theirs.
        study (Path): Work directory of the other study.

    Raises:
        FileNotFoundError: There is no study, or a run of it kept no checkpoint.
        ValueError: The other study has no such run, or trained it with other settings.
    """
    results = study / 'results.json'
    if not results.is_file():
        raise FileNotFoundError(f'no {results}, expected the work directory of a study')
    rows = json.loads(results.read_text(encoding='utf-8'))['runs']
    folders = {(row['config'], row['seed']): study / row['folder'] for row in rows}
    return [_with_weights(run, folders, study) for run in runs]


def _with_weights(run: Run, folders: dict[tuple[str, int], Path], study: Path) -> Run:
    folder = folders.get((run.variant.name, run.seed))
    if folder is None:
        there = ', '.join(f'{name}, seed {seed}' for name, seed in folders) or 'none'
        raise ValueError(f'{study} has no finished run {run.name}; there are: {there}')
    found = replace(run, weights=folder)
    if found.checkpoint() is None:
        raise FileNotFoundError(
            f'no checkpoint in {folder}, expected one: the study must not have been run with '
            '--no-checkpoints'
        )
    given = run_config(run.variant.cfg, run.seed)
    others = _other_settings(Config.fromfile(folder / CONFIG), given)
    if others:
        key, (before, now) = next(iter(others.items()))
        raise ValueError(
            f'{run.name}: {key} is {now}, but {before} in the training of {folder}; expected '
            'the same settings, but for those of the test'
        )
    return found


def _other_settings(trained: Config, given: Config) -> dict[str, tuple[str, str]]:
    return {
        key: pair
        for key, pair in differences(trained, given).items()
        if key.startswith(_TRAINING) and not key.startswith(_OF_A_TEST)
    }
