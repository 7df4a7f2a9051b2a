"""Draws of pictures as a function of seed, iteration and picture, those from before included.

``CachedMosaic`` and ``CachedMixUp`` mix a picture with others that the same worker has drawn before
and kept. What it kept is no random number, and in no checkpoint: a resumed training would begin
with nothing. Here their cache looks like a list of what was drawn last, and is one as far as memory
reaches; what is not there any more, or was drawn before an interruption, is drawn again as it was.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch.utils.data import Dataset, Sampler

from .randomness import OwnRandomness, seed_everything

#: Iteration and index of a picture that is drawn.
Draw = tuple[int, int]


class NumberedBatch(NamedTuple):
    """What one batch is made of.

    Attributes:
        draws (list[tuple[int, int]]): Iteration and index of each picture.
        past (list[tuple[int, int]]): Those that were drawn last before it in its lane and epoch, as
            many as caches look back.
    """

    draws: list[Draw]
    past: list[Draw]


class NumberedBatches(Sampler):
    """Batches with the number of their iteration, from some batch of the first epoch on.

    Batches as far apart as there are data workers are a lane: the same worker draws them, as long
    as nothing interrupts it.

    Args:
        batch_sampler (Sampler): Gives lists of indices. What it draws from the generators that all
            share depends on seed and epoch, too.
        dataset (Dataset): Whose caches count.
        seed (int): Of the training.
        lanes (int): Number of data workers, at least 1. Defaults to 1.
    """

    def __init__(self, batch_sampler: Sampler, dataset: Dataset, seed: int, lanes: int = 1) -> None:
        self.batch_sampler, self.dataset, self.seed, self.lanes = (
            batch_sampler,
            dataset,
            seed,
            lanes,
        )
        self.start(0, 0)

    def start(self, iteration: int, skip: int) -> None:
        """Set the iteration of the next batch, and how many batches come before it."""
        self.iteration, self.skip = iteration, skip

    @property
    def sampler(self) -> Sampler:
        """What orders the indices."""
        return self.batch_sampler.sampler

    def __iter__(self) -> Iterator[NumberedBatch]:
        skip, self.skip = self.skip, 0
        first = self.iteration - skip
        depth = sum(transform.max_cached_images for transform in caching(self.dataset))
        pasts = [deque(maxlen=depth) for _ in range(self.lanes)]
        for number, indices in enumerate(self._indices(first)):
            draws = [(first + number, index) for index in indices]
            past = pasts[number % self.lanes]
            if number >= skip:
                self.iteration += 1
                yield NumberedBatch(draws, list(past))
            past.extend(draws)

    def _indices(self, first: int) -> Iterator[list[int]]:
        own = OwnRandomness(self.seed, first)
        with own.used():
            batches = iter(self.batch_sampler)
        while True:
            with own.used():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def __len__(self) -> int:
        return len(self.batch_sampler)


class Draws:
    """What a data loader asks a data set for; works in the worker.

    Args:
        dataset (Dataset): Gives pictures by their indices.
        seed (int): Of the training.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.order: list[Draw] = []  # the last is drawn now, or is drawn again
        self.wanted: Cache | None = None

    def __call__(self, batch: NumberedBatch) -> list[Any]:
        """Draw a batch."""
        for transform in caching(self.dataset):
            if not isinstance(transform.results_cache, Cache):
                transform.results_cache = Cache(self, transform.max_cached_images)
            transform.results_cache.forget_all_but(batch.past)
        items, order = [], list(batch.past)
        for draw in batch.draws:
            order.append(draw)
            self.order = order
            items.append(self._draw())
        return items

    def again(self, order: list[Draw], wanted: 'Cache') -> None:
        """Draw the last picture of an order again, as far as to the transform that keeps it."""
        now = self.order, self.wanted
        self.order, self.wanted = order, wanted
        try:
            with OwnRandomness(0).used():
                self._draw()
        except _Kept:
            pass
        finally:
            self.order, self.wanted = now

    def _draw(self) -> Any:
        iteration, index = self.order[-1]
        seed_everything(self.seed, iteration, index)
        return self.dataset[index]


class _Kept(BaseException):
    """A picture is drawn as far as to where it is kept."""


class Cache:
    """In the place of a transform's list of what it was handed last.

    Args:
        draws (Draws): Which picture is drawn now, and draws others again.
        size (int): How many pictures it looks like at most.
    """

    def __init__(self, draws: Draws, size: int) -> None:
        self.draws, self.size = draws, size
        self.kept: dict[Draw, Any] = {}

    def append(self, results: Any) -> None:
        """Keep what the transform was handed for the picture that is drawn now."""
        self.kept.setdefault(self.draws.order[-1], results)
        if self.draws.wanted is self:
            raise _Kept

    def __len__(self) -> int:
        return min(len(self.draws.order), self.size)

    def __getitem__(self, place: int) -> Any:
        """From the oldest to the one of now; the nearest before it if that was never handed on."""
        order = self.draws.order
        for end in range(len(order) - len(self) + place + 1, 0, -1):
            draw = order[end - 1]
            if draw not in self.kept:
                self.draws.again(order[:end], self)
            if self.kept.setdefault(draw, None) is not None:
                return self.kept[draw]
        return self.kept[order[-1]]

    def forget_all_but(self, draws: list[Draw]) -> None:
        """Forget what nobody asks for any more."""
        self.kept = {draw: self.kept[draw] for draw in draws if draw in self.kept}


def caching(dataset: Any) -> list[Any]:
    """All transforms of a data set, its wrappers and theirs that keep what they were handed."""
    return [
        transform
        for transform in transforms_of(dataset)
        if hasattr(transform, 'results_cache') and hasattr(transform, 'max_cached_images')
    ]


def transforms_of(part: Any) -> Iterator[Any]:
    """All transforms of a data set, of those it wraps, and within transforms."""
    if isinstance(part, (list, tuple)):
        for one in part:
            yield from transforms_of(one)
    elif hasattr(part, '__getitem__') and hasattr(part, '__len__'):  # some wrappers have no base
        for name in ('dataset', 'datasets', 'pipeline'):
            yield from transforms_of(getattr(part, name, None))
    elif callable(part) and hasattr(part, '__dict__') and not isinstance(part, type):
        yield part
        for name in ('transforms', 'transform'):
            nested = vars(part).get(name)
            if isinstance(nested, (list, tuple)) or nested is not None:
                yield from transforms_of(nested)
