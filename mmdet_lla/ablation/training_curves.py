"""Reads the scalars that mmengine writes during training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np


def read_scalars(folder: Path) -> list[dict]:
    """Training scalars of a work directory, interrupted and resumed trainings as one.

    Args:
        folder (Path): What ``--work-dir`` was.

    Returns:
        list[dict]: By rising ``step``, with ``loss``, ``time`` and what else was logged. Of steps
        that were made twice, the later.
    """
    records: list[dict] = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for record in _records(path.read_text(encoding='utf-8').splitlines()):
            if 'loss' in record and 'step' in record:
                # A training that was resumed from an earlier step makes those after it anew.
                while records and records[-1]['step'] >= record['step']:
                    records.pop()
                records.append(record)
    return records


def _records(lines: Iterable[str]) -> Iterable[dict]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # cut off where the training was killed
            continue


def training_seconds(records: Sequence[dict]) -> float:
    """Time that a training takes when nothing gets in its way.

    The median time of an iteration, times the iterations: what a suspended process, a validation or
    an interruption took does not count.

    Args:
        records (Sequence[dict]): By rising ``step``, with ``time``, the mean seconds of the
            iterations before it.

    Returns:
        float: Seconds; 0 without records.
    """
    times = [record['time'] for record in records if 'time' in record]
    return float(np.median(times)) * records[-1]['step'] if times else 0.0


def smoothed(steps: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """Mean of the values within half a width of each step.

    Args:
        steps (np.ndarray): Rising, shape (N, ).
        values (np.ndarray): Shape (N, ).
        width (float): In steps.

    Returns:
        np.ndarray: Shape (N, ).
    """
    first = np.searchsorted(steps, steps - width / 2, side='left')
    last = np.searchsorted(steps, steps + width / 2, side='right')
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[last] - total[first]) / (last - first)
