"""Seeds and isolates the random generators of Python, NumPy and torch together."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar('T')


def seed_everything(*numbers: int) -> None:
    """Seed Python's, NumPy's and torch's generators, each by a hash of the numbers (>= 0).

    >>> seed_everything(3, 4)
    >>> first = random.random()
    >>> seed_everything(3, 4)
    >>> random.random() == first
    True
    """
    for_python, for_numpy, for_torch = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Restore the generators of Python, NumPy and torch afterwards.

    >>> seed_everything(3)
    >>> with untouched_randomness():
    ...     drawn = random.random()
    >>> random.random() == drawn
    True
    """
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def iterate_seeded(items: Iterable[T], *numbers: int) -> Iterator[T]:
    """Iterate with generators of its own, seeded by ``numbers``; everybody else's are untouched.

    >>> list(iterate_seeded((random.random() for _ in range(2)), 3)) == list(
    ...     iterate_seeded((random.random() for _ in range(2)), 3))
    True
    """
    with untouched_randomness():
        seed_everything(*numbers)
        iterator, own = iter(items), _states()
    while True:
        with untouched_randomness():
            _set_states(own)
            try:
                item = next(iterator)
            except StopIteration:
                return
            own = _states()
        yield item


def _states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
