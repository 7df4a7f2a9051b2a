"""Makes a resumed training equal, bit for bit, one that was never interrupted."""

from collections.abc import Iterator
from inspect import signature
from itertools import count
from typing import Any

from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_rank
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from ..compat import hand_batches
from .randomness import iterate_seeded, seed_everything

#: Arguments of DataLoader that the batch sampler replaces.
_BATCHING = {'self', 'dataset', 'batch_sampler', 'batch_size', 'shuffle', 'sampler', 'drop_last'}


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make every random number a function of the seed and of what it is drawn for.

    mmengine resumes weights, optimizer and schedules, but no random state: augmentation starts over
    with the seed; without a seed in the config the images come in a new order; a checkpoint from
    within an epoch starts that epoch over; and an iteration-based loop reads every image trained
    on once more to skip it. With this hook

    - the augmentation of an image depends on seed, iteration and image, whatever the number of
      workers or processes;
    - random numbers of the model depend on seed, iteration and process;
    - the order of the images depends on the seed, which the checkpoint keeps;
    - training continues with the next batch and reads none of those before it.

    State that no checkpoint holds is named in one warning at the start: transforms that cache
    earlier images (``CachedMosaic``, ``CachedMixUp``), ``BatchSyncRandomResize``, and
    ``EarlyStoppingHook``. With these, a resumed training continues but is not equal.

    The train data loader must be given as a config. Data set, batch size and number of processes
    must stay the same. Gradients accumulated over several iterations are not in checkpoints; save
    checkpoints where they have just been used.

    >>> ExactResumeHook().priority
    'VERY_HIGH'
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.seed: int | None = None
        self.saved_meta: dict[str, Any] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the number of batches per epoch."""
        checkpoint['meta']['batches_per_epoch'] = len(runner.train_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read it."""
        self.saved_meta = checkpoint.get('meta', {})

    def before_train(self, runner: Runner) -> None:
        """Replace the train data loader by one that continues where the training does."""
        loop, cfg = runner.train_loop, runner.cfg.get('train_dataloader')
        if not isinstance(cfg, dict) or not isinstance(cfg.get('sampler'), dict):
            runner.logger.warning(
                'ExactResumeHook: the train data loader was not built from a config with a '
                'sampler; a resumed training will not equal an uninterrupted one'
            )
            return
        self.seed = runner.seed - get_rank() * bool(
            runner.cfg.get('randomness', {}).get('diff_rank_seed')
        )
        old = loop.dataloader
        batches = NumberedBatches(_build_batch_sampler(cfg, old.dataset, self.seed), self.seed)
        if not len(batches):
            raise ValueError(
                f'ExactResumeHook: {len(old.dataset)} images make no batch; check batch_size and '
                'drop_last of train_dataloader, and filter_cfg of its dataset'
            )
        unsaved = find_unsaved_state(runner, old.dataset)
        if unsaved:
            runner.logger.warning(
                'ExactResumeHook: a resumed training will not equal an uninterrupted one, because '
                f'no checkpoint holds the state of {", ".join(unsaved)}'
            )
        old.dataset.__getitems__ = SeededItems(old.dataset, self.seed)
        kept = set(signature(DataLoader.__init__).parameters) - _BATCHING
        loop.dataloader = loader = DataLoader(
            old.dataset, batch_sampler=batches, **{name: getattr(old, name) for name in kept}
        )
        self._skip_batches(runner, batches)
        if isinstance(loop, IterBasedTrainLoop):
            epochs = count(batches.iteration // len(loader))
            hand_batches(loop, _iterate_epochs(loader, epochs), runner.iter)

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Seed the random numbers of the model."""
        if self.seed is not None:
            seed_everything(self.seed, runner.iter, get_rank())

    def _skip_batches(self, runner: Runner, batches: 'NumberedBatches') -> None:
        """Let the next batch be the first one not trained on."""
        by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        saved = self.saved_meta.get('batches_per_epoch')
        if by_epoch and saved not in (None, len(batches)):
            runner.logger.warning(
                f'ExactResumeHook: an epoch had {saved} batches when the checkpoint was written '
                f'and has {len(batches)} now; continuing at the start of epoch {runner.epoch + 1}'
            )
            batches.iteration = runner.iter
            return
        # Other samplers may depend on the epochs before, or never end an epoch.
        epoch = 0
        if isinstance(batches.sampler, DefaultSampler):
            epoch = runner.epoch if by_epoch else runner.iter // len(batches)
        batches.iteration = epoch * len(batches)
        batches.skip = runner.iter - batches.iteration
        if by_epoch:
            for _ in _iterate_epochs(batches, range(epoch, runner.epoch)):
                pass


class NumberedBatches(Sampler):
    """Batches with the number of their iteration.

    Args:
        batch_sampler (Sampler): Yields lists of indices. Random numbers that it takes from the
            shared generators depend on seed and epoch only.
        seed (int): Seed of the training.

    Attributes:
        iteration (int): Of the next batch.
        skip (int): How many batches to leave out first.

    >>> batches = NumberedBatches(BatchSampler(range(4), 2, False), seed=0)
    >>> batches.skip = 1
    >>> list(batches)
    [(1, [2, 3])]
    """

    def __init__(self, batch_sampler: Sampler, seed: int) -> None:
        self.batch_sampler, self.seed = batch_sampler, seed
        self.iteration = self.skip = 0

    @property
    def sampler(self) -> Sampler:
        """The sampler that orders the indices; loops call its ``set_epoch``."""
        return self.batch_sampler.sampler

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for indices in iterate_seeded(self.batch_sampler, self.seed, self.iteration):
            self.iteration += 1
            if self.skip:
                self.skip -= 1
            else:
                yield self.iteration - 1, indices

    def __len__(self) -> int:
        return len(self.batch_sampler)


class SeededItems:
    """``__getitems__`` of a data set: seeds each image by iteration and index; runs in the worker.

    Args:
        dataset (Dataset): Yields images by index.
        seed (int): Seed of the training.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __call__(self, batch: tuple[int, list[int]]) -> list[Any]:
        """Load a batch."""
        iteration, indices = batch
        items = []
        for index in indices:
            seed_everything(self.seed, iteration, index)
            items.append(self.dataset[index])
        return items


def find_unsaved_state(runner: Runner, dataset: Dataset) -> list[str]:
    """Name the parts of a training whose state no checkpoint holds.

    Args:
        runner (Runner): Its model and hooks are searched.
        dataset (Dataset): The training data.
    """
    parts = [*_transforms_of(dataset), *runner.model.modules(), *runner.hooks]
    stateful = (BatchSyncRandomResize, EarlyStoppingHook)
    names = [
        type(part).__name__
        for part in parts
        if isinstance(part, stateful) or hasattr(part, 'results_cache')
    ]
    return list(dict.fromkeys(names))


def _transforms_of(part: Any) -> Iterator[Any]:
    """Iterate over all transforms of a data set, of those it wraps, and within transforms."""
    if isinstance(part, (list, tuple)):
        for one in part:
            yield from _transforms_of(one)
    elif callable(part) and not hasattr(part, '__getitem__'):
        yield part
        for name in ('transforms', 'transform'):
            yield from _transforms_of(getattr(part, '__dict__', {}).get(name))
    elif part is not None:
        for name in ('dataset', 'datasets', 'pipeline'):
            yield from _transforms_of(getattr(part, name, None))


def _build_batch_sampler(cfg: dict, dataset: Dataset, seed: int) -> Sampler:
    """Build the batch sampler of the config anew: the loop may have used its own already."""
    sampler = DATA_SAMPLERS.build(cfg['sampler'], default_args=dict(dataset=dataset, seed=seed))
    if cfg.get('batch_sampler') is None:
        return BatchSampler(sampler, cfg['batch_size'], cfg.get('drop_last', False))
    return DATA_SAMPLERS.build(
        cfg['batch_sampler'], default_args=dict(sampler=sampler, batch_size=cfg['batch_size'])
    )


def _iterate_epochs(batches: DataLoader | NumberedBatches, epochs) -> Iterator[Any]:
    """Iterate over the batches of several epochs."""
    sampler = batches.batch_sampler.sampler
    for epoch in epochs:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
        yield from batches
