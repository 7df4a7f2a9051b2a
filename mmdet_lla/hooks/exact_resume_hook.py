"""Makes a resumed training the same, bit for bit, as one that was never interrupted."""

from collections.abc import Iterator
from functools import partial
from inspect import signature
from itertools import count
from typing import Any

from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import DATA_SAMPLERS, HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from ..compat import hand_batches
from .past_draws import Draws, NumberedBatches, caching
from .randomness import seed_everything
from .resume_limits import (
    ModuleWatch,
    hook_limits,
    is_endless,
    sampler_limit,
    transform_limits,
)

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

    ``CachedMosaic`` and ``CachedMixUp`` mix a picture with those drawn last before it in the same
    epoch, by the same worker if nothing interrupts it, and draw them again after an interruption;
    the number of workers must then stay the same. The size that ``BatchSyncRandomResize`` has
    chosen is in the checkpoint. What else gathers state that no checkpoint holds is named in a
    warning when training begins: transforms that change from picture to picture, samplers whose
    order depends on epochs before, some hooks, and modules whose attributes grow.

    It needs a train data loader given as a config. Batches must stay the same: the same data set,
    batch size and number of processes. Gradients accumulated over several iterations are not in
    checkpoints; resume where they have just been used.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.seed: int | None = None
        self.saved: dict[str, Any] = {}
        self.sizes: list[dict[str, Any]] = []  # of each process, those that modules have chosen

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what a resumed training must know besides."""
        checkpoint['meta'].update(
            batches_per_epoch=len(runner.train_dataloader),
            data_workers=runner.train_dataloader.num_workers,
            batch_sizes=self.sizes,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Learn it."""
        self.saved = checkpoint.get('meta', {})

    def before_train(self, runner: Runner) -> None:
        """Replace the loader of the training data by one that goes on where the training does."""
        loop, cfg = runner.train_loop, runner.cfg.get('train_dataloader')
        self.resizes = {
            name: module
            for name, module in _bare(runner.model).named_modules()
            if isinstance(module, BatchSyncRandomResize)
        }
        self._restore_sizes()
        self.watch: ModuleWatch | None = ModuleWatch(_bare(runner.model))
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
        build = partial(_build_sampler, cfg, loader.dataset, self.seed)
        batches = NumberedBatches(
            _build_batch_sampler(cfg, build()),
            loader.dataset,
            self.seed,
            max(1, loader.num_workers),
        )
        if not len(batches):
            raise ValueError(
                f'ExactResumeHook: {len(loader.dataset)} pictures make no batch; see batch_size '
                'and drop_last of train_dataloader, and filter_cfg of its dataset'
            )
        endless = is_endless(build, loader.dataset)
        limits = hook_limits(runner)
        if is_main_process():
            limits += transform_limits(loader.dataset, self.seed)
        if not endless:
            limits += filter(None, [sampler_limit(build, self.seed)])
        workers = self.saved.get('data_workers', loader.num_workers)
        if caching(loader.dataset) and max(1, workers) != batches.lanes:
            limits.append(
                f'{workers} data workers wrote the checkpoint and there are {loader.num_workers} '
                'now, which keep other pictures to mix'
            )
        self._tell(runner, limits)
        loader.dataset.__getitems__ = Draws(loader.dataset, self.seed)
        kept = set(signature(DataLoader.__init__).parameters) - _BATCHING
        loop.dataloader = loader = DataLoader(
            loader.dataset, batch_sampler=batches, **{name: getattr(loader, name) for name in kept}
        )
        epoch = 0 if endless else runner.iter // len(loader)
        if not isinstance(loop, IterBasedTrainLoop):
            epoch = runner.epoch
            before = self.saved.get('batches_per_epoch')
            if before not in (None, len(loader)):
                runner.logger.warning(
                    f'ExactResumeHook: an epoch had {before} batches when the '
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

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Note sizes that were chosen, and look at what modules gather in the first iterations."""
        first = not self.sizes
        if any(first or (runner.iter + 1) % one._interval == 0 for one in self.resizes.values()):
            chosen = {name: module._input_size for name, module in self.resizes.items()}
            self.sizes = all_gather_object(chosen)
        if self.watch is not None:
            self._tell(runner, self.watch.look())
            if len(self.watch.sizes) == 3:
                self.watch = None

    def _restore_sizes(self) -> None:
        """Let modules go on with the sizes that the checkpoint's had chosen."""
        self.sizes = self.saved.get('batch_sizes') or []
        if not self.sizes:
            return
        chosen = self.sizes[get_rank() if get_rank() < len(self.sizes) else 0]
        for name, module in self.resizes.items():
            module._input_size = chosen.get(name)

    def _tell(self, runner: Runner, limits: list[str]) -> None:
        if limits:
            runner.logger.warning(
                'ExactResumeHook: a resumed training will not equal an uninterrupted one, for no '
                f'checkpoint holds everything that it depends on: {"; ".join(limits)}'
            )


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _build_sampler(cfg: dict, dataset: Dataset, seed: int) -> Sampler:
    """The sampler that mmengine builds, unused: a loop may have drawn from its own."""
    return DATA_SAMPLERS.build(cfg['sampler'], default_args=dict(dataset=dataset, seed=seed))


def _build_batch_sampler(cfg: dict, sampler: Sampler) -> Sampler:
    """The batch sampler around it."""
    if cfg.get('batch_sampler') is None:
        return BatchSampler(sampler, cfg['batch_size'], cfg.get('drop_last', False))
    return DATA_SAMPLERS.build(
        cfg['batch_sampler'], default_args=dict(sampler=sampler, batch_size=cfg['batch_size'])
    )


def _endless(loader: DataLoader, first_epoch: int) -> Iterator[Any]:
    """Batches for a loop over iterations."""
    for epoch in count(first_epoch):
        if hasattr(loader.batch_sampler.sampler, 'set_epoch'):
            loader.batch_sampler.sampler.set_epoch(epoch)
        yield from loader
