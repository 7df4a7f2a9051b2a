"""A CheckpointHook that survives being killed, a full disk and torn files."""

import os.path as osp
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.utils import apply_to

from ..plain_checkpoints import pack_history, unpack_history
from ..utils.files import is_local
from .checkpoint_files import AtomicBackend, CheckpointError, checkpoint_fault, remove_unfinished


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Keep a checkpoint to go on from, whatever happens.

    Different from mmengine's ``CheckpointHook``, on local disks:

    - a file appears under its name only when it is complete, ``last_checkpoint`` too, and outdated
      ones are removed only then: there is a whole checkpoint at every moment after the first, and
      with ``save_best`` a whole best one;
    - what cannot be written, as on a full disk, ends the training with the name of the last good
      checkpoint;
    - ``resume`` looks at a checkpoint before it goes on from it. Without a name it takes the one
      of ``last_checkpoint``, or else the newest that is whole, and names those that are not;
    - Python code that a checkpoint brings along for mmengine to execute is removed unread;
    - torch loads the file in any process, for the training log is kept as tensors. mmengine's own
      hook goes on from such a checkpoint too, with a new log.

    Args:
        max_keep_ckpts (int): As for ``CheckpointHook``, and not 1. Defaults to -1, all.
        kwargs: See :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        ValueError: If ``max_keep_ckpts`` is 1.
        CheckpointError: If a checkpoint cannot be written, or none is whole.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.max_keep_ckpts == 1:
            raise ValueError(
                'SafeCheckpointHook: max_keep_ckpts must be -1 or at least 2, got 1; '
                'with one checkpoint there is none to fall back to'
            )

    def before_run(self, runner: Runner) -> None:
        """Choose what to resume from. mmengine reads it next, and asks no hook for it."""
        if not runner._resume:
            return
        chosen = [self._choose(runner)] if is_main_process() else [None]
        broadcast_object_list(chosen)
        path, problem = chosen[0]
        if problem:
            raise CheckpointError(problem)
        runner._load_from, runner._resume = path, path is not None

    def before_train(self, runner: Runner) -> None:
        """See :class:`mmengine.hooks.CheckpointHook`."""
        if self.backend_args is None and is_local(self.out_dir or runner.work_dir):
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        if is_main_process() and is_local(self.out_dir):
            remove_unfinished(self.out_dir)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn what only mmengine knows into what torch does."""
        hub = apply_to(
            checkpoint['message_hub'],
            lambda value: isinstance(value, (HistoryBuffer, np.generic)),
            lambda value: value.item() if isinstance(value, np.generic) else pack_history(value),
        )
        checkpoint['message_hub'] = hub

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn it back, and remove what ``Runner.resume`` would execute.

        mmengine itself never writes that.
        """
        log = checkpoint.get('message_hub', {}).get('log_scalars', {})
        log.update({name: unpack_history(scalar) for name, scalar in log.items()})
        if 'config' in checkpoint.get('meta', {}):
            del checkpoint['meta']['config']
            runner.logger.warning(
                'SafeCheckpointHook: the checkpoint holds meta.config, Python '
                'code that no checkpoint needs; it is not executed'
            )
        missing = [key for key in ('optimizer', 'param_schedulers') if key not in checkpoint]
        if runner._resume and missing:  # so has a best one
            runner.logger.warning(
                f'SafeCheckpointHook: the checkpoint has no {missing}, which '
                'start anew; the training will not equal an uninterrupted one'
            )

    def _choose(self, runner: Runner) -> tuple[str | None, str | None]:
        """Path of the checkpoint to resume from, None to start anew; or what to say and end."""
        if runner._load_from is not None:
            asked = str(runner._load_from)
            fault = checkpoint_fault(osp.expanduser(asked)) if is_local(asked) else None
            if fault is None:
                return asked, None
            others = self._candidates(runner, osp.dirname(asked))
            best = next((path for path in others if checkpoint_fault(path) is None), None)
            advice = f'; the newest whole one beside it is {best}' if best else ''
            return None, f'Cannot resume from {asked}: {fault}{advice}'
        faults = []
        for path in self._candidates(runner, runner.work_dir):
            fault = checkpoint_fault(path)
            if fault is None:
                if faults:
                    runner.logger.warning(f'{"; ".join(faults)}. Going on from {path}')
                return path, None
            faults.append(f'Cannot resume from {path}: {fault}')
        if faults:
            return None, (
                f'{"; ".join(faults)}. No whole checkpoint is left in '
                f'{runner.work_dir}; remove these to start anew'
            )
        runner.logger.info(f'No checkpoint in {runner.work_dir} yet; starting anew')
        return None, None

    def _candidates(self, runner: Runner, directory: str) -> list[str]:
        """Checkpoints to resume from: the one of ``last_checkpoint``, then from new to old."""
        place = Path(directory)
        if self.out_dir is not None and directory == runner.work_dir:
            place = Path(self.out_dir) / osp.basename(runner.work_dir.rstrip(osp.sep))
        found = sorted(
            place.glob(self.filename_tmpl.format('*')),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        named = Path(directory) / 'last_checkpoint'
        last = [named.read_text().strip()] if named.is_file() else []
        return list(dict.fromkeys([name for name in last if name] + [str(path) for path in found]))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write a checkpoint, point ``last_checkpoint`` to it, then remove outdated ones."""
        kept = []
        if self.max_keep_ckpts > 0:
            # A kill before the removal leaves too many; a resumed training removes them.
            kept = [one for one in self.keep_ckpt_ids if one != step] + [step]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        last = self._last(runner)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                AtomicBackend().put_text(
                    self.last_ckpt, osp.join(runner.work_dir, 'last_checkpoint')
                )
        except OSError as error:
            raise _unwritten(self.last_ckpt, error, last) from error
        outdated = kept[: -self.max_keep_ckpts] if kept else []
        self.keep_ckpt_ids = deque(kept[len(outdated) :])
        self._remove(
            [
                self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(one))
                for one in outdated
            ]
        )

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Write a better checkpoint and the last one, which names it; then remove those before."""
        if not self.save_best:
            return
        before = self._best()
        self._set_best(dict.fromkeys(before))  # mmengine removes those it knows before it writes
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            raise _unwritten('The best checkpoint', error, self._last(runner)) from error
        now = {name: path or before[name] for name, path in self._best().items()}
        self._set_best(now)
        self._remove(set(filter(None, before.values())) - set(now.values()))

    def _last(self, runner: Runner) -> str | None:
        return self.last_ckpt or runner.message_hub.runtime_info.get('last_ckpt')

    def _best(self) -> dict[str, str | None]:
        """Path of the best checkpoint by each metric."""
        if len(self.key_indicators) == 1:  # whose name is 'auto' at first
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths

    def _remove(self, paths: Iterable[str]) -> None:
        for path in filter(self.file_backend.isfile, paths if is_main_process() else []):
            self.file_backend.remove(path)


def _unwritten(what: str, error: OSError, last: str | None) -> CheckpointError:
    return CheckpointError(
        f'{what} could not be written: {error.strerror or error}. The last good checkpoint is '
        f'{last or "none"}; make room and go on with --resume'
    )
