"""Makes a resumed training the same, bit for bit, as one that was never interrupted."""

import random
from collections.abc import Iterator
from functools import partial
from inspect import signature
from itertools import count, islice
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from ..compat import hand_batches

#: What a DataLoader is told by its batch sampler instead.
_BATCHING = {'self', 'dataset', 'batch_sampler', 'batch_size', 'shuffle', 'sampler', 'drop_last'}


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make every random number a function of the seed and of what it is drawn for.

    mmengine resumes weights, optimizer and schedules, but not the random numbers: augmentation
    starts over with the seed, persistent workers with what they have drawn forgotten; without a
    seed in the config the pictures come in a new order; a checkpoint from within an epoch starts
    that epoch over; and a loop over iterations reads every picture trained on once more, to skip
    it. With this hook

    - a picture's augmentation depends on seed, iteration and picture, whatever the number of
      workers or processes;
    - what the model draws depends on seed, iteration and process;
    - the order of the pictures depends on the seed, the checkpoint's if the config has none;
    - training goes on at the very batch, without reading those before it.

    It needs a train data loader given as a config, and a sampler whose order depends on seed and
    epoch, as that of ``DefaultSampler`` and ``InfiniteSampler`` does. Batches must stay the same:
    the same data set, batch size and number of processes. Gradients accumulated over several
    iterations are not in checkpoints; resume where they have just been used.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.seed: Optional[int] = None
        self.saved_length: Optional[int] = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how many batches an epoch has."""
        checkpoint['meta']['batches_per_epoch'] = len(runner.train_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Learn how many batches an epoch had."""
        self.saved_length = checkpoint.get('meta', {}).get('batches_per_epoch')

    def before_train(self, runner: Runner) -> None:
        """Replace the loader of the training data by one that goes on where the training does."""
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
        loader = loop.dataloader
        batches = NumberedBatches(_build_batch_sampler(cfg, loader.dataset, self.seed))
        if not len(batches):
            raise ValueError(
                f'ExactResumeHook: {len(loader.dataset)} pictures make no batch; see batch_size '
                'and drop_last of train_dataloader, and filter_cfg of its dataset'
            )
        loader.dataset.__getitems__ = partial(_draw, loader.dataset, self.seed)
        kept = set(signature(DataLoader.__init__).parameters) - _BATCHING
        loop.dataloader = loader = DataLoader(
            loader.dataset, batch_sampler=batches, **{name: getattr(loader, name) for name in kept}
        )
        endless = isinstance(batches.sampler, InfiniteSampler)
        epoch = 0 if endless else runner.iter // len(loader)
        if not isinstance(loop, IterBasedTrainLoop):
            epoch = runner.epoch
            if self.saved_length not in (None, len(loader)):
                runner.logger.warning(
                    f'ExactResumeHook: an epoch had {self.saved_length} batches when the '
                    f'checkpoint was written and has {len(loader)} now; going on from the start '
                    f'of epoch {epoch + 1}'
                )
                batches.start(runner.iter, 0)
                return
        batches.start(runner.iter, runner.iter - epoch * len(loader))
        if isinstance(loop, IterBasedTrainLoop):
            hand_batches(loop, _endless(loader, epoch), runner.iter)

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Seed what the model draws."""
        if self.seed is not None:
            seed_everything(self.seed, runner.iter, get_rank())


class NumberedBatches(Sampler):
    """Batches of (iteration, index), from some batch of the first epoch on.

    Args:
        batch_sampler (Sampler): Gives lists of indices.
    """

    def __init__(self, batch_sampler: Sampler) -> None:
        self.batch_sampler = batch_sampler
        self.start(0, 0)

    def start(self, iteration: int, skip: int) -> None:
        """Set the iteration of the next batch, and how many batches come before it."""
        self.iteration, self.skip = iteration, skip

    @property
    def sampler(self) -> Sampler:
        """What orders the indices."""
        return self.batch_sampler.sampler

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        skip, self.skip = self.skip, 0
        for batch in islice(self.batch_sampler, skip, None):
            yield [(self.iteration, index) for index in batch]
            self.iteration += 1

    def __len__(self) -> int:
        return len(self.batch_sampler)


def seed_everything(*numbers: int) -> None:
    """Seed Python's, numpy's and torch's generators, each by a hash of the numbers (>= 0)."""
    for_python, for_numpy, for_torch = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


def _draw(dataset: Dataset, seed: int, batch: list[tuple[int, int]]) -> list[Any]:
    """What a data loader asks a data set for; runs in the worker."""
    items = []
    for iteration, index in batch:
        seed_everything(seed, iteration, index)
        items.append(dataset[index])
    return items


def _build_batch_sampler(cfg: dict, dataset: Dataset, seed: int) -> Sampler:
    """The batch sampler that mmengine builds, unused: a loop may have drawn from its own."""
    sampler = DATA_SAMPLERS.build(cfg['sampler'], default_args=dict(dataset=dataset, seed=seed))
    if cfg.get('batch_sampler') is None:
        return BatchSampler(sampler, cfg['batch_size'], cfg.get('drop_last', False))
    return DATA_SAMPLERS.build(
        cfg['batch_sampler'], default_args=dict(sampler=sampler, batch_size=cfg['batch_size'])
    )


def _endless(loader: DataLoader, first_epoch: int) -> Iterator[Any]:
    """Batches for a loop over iterations."""
    for epoch in count(first_epoch):
        loader.batch_sampler.sampler.set_epoch(epoch)
        yield from loader
