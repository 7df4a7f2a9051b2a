"""What of a training is in no checkpoint, found before it matters."""

import copy
import pickle
from collections import deque
from collections.abc import Callable, Sized
from itertools import islice
from typing import Any

from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset, Sampler

from .past_draws import caching, transforms_of
from .randomness import OwnRandomness, seed_everything, untouched_randomness

#: Hooks that decide by what they have seen, which no checkpoint holds.
FORGETFUL_HOOKS = dict(EarlyStoppingHook='its best score and how long it waits')


def is_endless(build: Callable[[], Sampler], dataset: Sized) -> bool:
    """Whether a sampler goes on beyond an epoch."""
    sampler = build()
    most = max(len(dataset), len(sampler)) + 1
    with OwnRandomness(0).used():
        return sum(1 for _ in islice(iter(sampler), most)) == most


def sampler_limit(build: Callable[[], Sampler], seed: int) -> str | None:
    """Say so if a sampler's order in an epoch depends on more than seed and epoch.

    Args:
        build (Callable): Builds one that does not go on beyond an epoch.
        seed (int): Of the training.
    """

    def order(sampler: Sampler, epoch: int) -> list:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
        with OwnRandomness(seed, epoch).used():
            return list(sampler)

    old, new = build(), build()
    order(old, 0)
    if order(old, 1) == order(new, 1):
        return None
    return f'the order of {type(old).__name__} in an epoch depends on the epochs before it'


def transform_limits(dataset: Dataset, seed: int) -> list[str]:
    """Name the transforms that change from picture to picture, in ways that last.

    The first picture is drawn twice, with the same random numbers; what a transform merely notes of
    its last picture is then the same twice. All are as before afterwards.
    """
    kept = {id(transform) for transform in caching(dataset)}
    watched = [
        one
        for one in transforms_of(dataset)
        if id(one) not in kept and type(one).__name__ != 'Compose'
    ]
    if not watched or not len(dataset):
        return []
    everything = list(transforms_of(dataset))
    try:
        before = [copy.deepcopy(vars(one)) for one in everything]
    except Exception:  # what cannot be copied cannot be put back
        return []
    states = []
    try:
        with untouched_randomness():
            for _ in range(2):
                seed_everything(seed, 0, 0)
                dataset[0]
                states.append([_frozen(vars(one)) for one in watched])
    except Exception:
        return []  # the training will tell
    finally:
        for one, values in zip(everything, before, strict=True):
            vars(one).clear()
            vars(one).update(values)
    found = []
    for one, once, twice in zip(watched, *states, strict=True):
        names = [name for name in twice if name in once and _differ(once[name], twice[name])]
        if names:
            found.append(f'{type(one).__name__} keeps {", ".join(sorted(names))}')
    return found


class ModuleWatch:
    """Looks at the first iterations for what modules gather outside of their state.

    Args:
        model (nn.Module): Not in a wrapper.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.sizes = model, []

    def look(self) -> list[str]:
        """Call after each of the first three iterations; names what grew twice."""
        self.sizes.append(dict(self._sizes()))
        if len(self.sizes) < 3:
            return []
        first, second, third = self.sizes
        return [
            f'{name} grows with every iteration'
            for name in third
            if name in first and first[name] < second.get(name, -1) < third[name]
        ]

    def _sizes(self):
        for name, module in self.model.named_modules():
            for key, value in vars(module).items():
                if type(value) in (list, dict, deque):
                    yield f'{type(module).__name__}.{key} ({name})', len(value)
                elif type(value) is int:
                    yield f'{type(module).__name__}.{key} ({name})', value


def hook_limits(runner: Runner) -> list[str]:
    """Name the hooks that forget."""
    return [
        f'{name} forgets {FORGETFUL_HOOKS[name]}'
        for name in (type(hook).__name__ for hook in runner.hooks)
        if name in FORGETFUL_HOOKS
    ]


def _differ(once: bytes, twice: bytes) -> bool:
    """Whether two frozen values differ; equal ones may be frozen differently."""
    if once == twice:
        return False
    try:
        return not pickle.loads(once) == pickle.loads(twice)
    except Exception:  # arrays have many answers
        return True


def _frozen(values: dict[str, Any]) -> dict[str, bytes]:
    """Attributes as bytes, as far as they can be written so."""
    frozen = {}
    for name, value in values.items():
        try:
            frozen[name] = pickle.dumps(value)
        except Exception:
            continue
    return frozen
