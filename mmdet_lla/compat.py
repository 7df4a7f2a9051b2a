"""Reconciles torch, numpy and mmengine or its fork; the one place that does.

torch without a GPU has no device to set for each of several processes, nor one to give its wrapper
of the model, as mmengine does for both, and synchronizes no batch norm.

Every process of a test writes its metrics to the same file of mmengine's, which two of them can
tear; here the first does alone.

torch >= 2.6 unpickles only tensors and allow-listed classes. mmengine's checkpoints carry their
training log in a few harmless classes more, named here. Nothing else becomes loadable.

onedl-mmengine, the maintained fork under the same name, unpickles what torch refuses, and takes
what it allows itself, our classes among it, from torch's list afterwards. Here it asks torch alone.
A loop over iterations that resumes asks it to skip batches in another way, too.
"""

import atexit
import pickle
from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.dist import utils as dist_utils
from mmengine.hooks import LoggerHook
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import IterBasedTrainLoop, checkpoint
from torch import nn

from .processes import join_by_slurm, join_by_torch, leave_processes

#: The statistics that mmengine's logs name, methods of HistoryBuffer.
_STATISTICS = ('min', 'max', 'current', 'mean')


def _history_statistic(owner: type, name: str):
    """What ``getattr`` may do in a checkpoint: name a statistic of HistoryBuffer, no more."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which no checkpoint of '
            'mmengine does; it is not to be trusted'
        )
    return getattr(HistoryBuffer, name)


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine's ``CheckpointHook`` wrote."""
    try:
        from numpy._core.multiarray import _reconstruct, scalar
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct, scalar
    dtypes = {type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'bool')}
    # A pickle names numpy's functions by the module of the numpy that wrote it, 1 or 2, and the
    # builtins by their name in Python 2.
    functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (_reconstruct, scalar)
        for core in ('core', '_core')
    ]
    functions += [
        (_history_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')
    ]
    torch.serialization.add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions])


def leave_loading_to_torch() -> None:
    """Let the fork's mmengine load checkpoints as mmengine does, by torch's rule."""
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = torch.load


class _NextBatches:
    """Batches from the next one to train on; what came before needs no skipping."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.batches)

    def skip_iter(self, num_iters: int) -> None:
        """What the fork's loop calls."""


def hand_batches(loop: IterBasedTrainLoop, batches: Iterator[Any], done: int) -> None:
    """Give a loop over iterations its batches, from the next one to train on.

    When it resumes, mmengine drops as many batches as have been trained on one by one, its fork
    at once or, with ``fast_forward_on_resume``, not at all.

    Args:
        loop (IterBasedTrainLoop): Before it runs.
        batches (Iterator): Those it has not trained on.
        done (int): How many it has trained on.
    """
    if hasattr(loop.dataloader_iterator, 'skip_iter'):
        loop.dataloader_iterator = _NextBatches(batches)
    else:
        loop.dataloader_iterator = chain(repeat(None, done), batches)


def let_cpus_train_together() -> None:
    """Let mmengine's processes join, and its wrapper work, on a machine without an accelerator."""
    for launcher, join in dict(pytorch=join_by_torch, slurm=join_by_slurm).items():
        name = f'_init_dist_{launcher}'
        setattr(dist_utils, name, partial(_join, getattr(dist_utils, name), join))
    wrap = MMDistributedDataParallel.__init__

    @wraps(wrap)
    def wrap_on_any(self, module: nn.Module, *args, **kwargs) -> None:
        if all(value.device.type == 'cpu' for value in module.parameters()):
            kwargs['device_ids'] = None
            module = revert_sync_batchnorm(module)  # as mmengine does where there is one process
        wrap(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = wrap_on_any


def _join(on_devices: Callable, on_cpus: Callable, *args, **kwargs) -> None:
    """Join the other processes by mmengine's function or by ours."""
    (on_cpus if get_device() == 'cpu' else on_devices)(*args, **kwargs)


if hasattr(torch.serialization, 'add_safe_globals'):
    allow_mmengine_checkpoints()
leave_loading_to_torch()
let_cpus_train_together()
LoggerHook.after_test_epoch = master_only(LoggerHook.after_test_epoch)
# Whatever joined them: our tools, mmdet's own or a script.
atexit.register(leave_processes)
