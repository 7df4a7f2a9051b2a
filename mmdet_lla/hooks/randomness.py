"""The random numbers of Python, numpy and torch together."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(*numbers: int) -> None:
    """Seed Python's, numpy's and torch's generators, each by a hash of the numbers (>= 0)."""
    for_python, for_numpy, for_torch = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Leave the random numbers of Python, numpy and torch as if nothing had happened."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class OwnRandomness:
    """Random numbers apart from those of everybody else; CPU alone.

    Args:
        numbers (int): What they depend on.
    """

    def __init__(self, *numbers: int) -> None:
        with self._others_kept():
            seed_everything(*numbers)
            self._mine = _states()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from these, where one left off."""
        with self._others_kept():
            _set_states(self._mine)
            yield
            self._mine = _states()

    @staticmethod
    @contextmanager
    def _others_kept() -> Iterator[None]:
        others = _states()
        try:
            yield
        finally:
            _set_states(others)


def _states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
