"""Patches that reconcile mmengine or its fork with torch and numpy; applied on request only.

``import mmdet_lla`` applies none of them. Our train and test commands call :func:`apply`. Under
mmdet's own tools, a training gets them by one line in its config::

    custom_imports = dict(imports=['mmdet_lla', 'mmdet_lla.patches'], allow_failed_imports=False)

=================================  =================================================================
patched                            reason
=================================  =================================================================
``dist.utils._init_dist_*``        Without a GPU, mmengine cannot set a device per process; the
                                   processes then join through gloo.
``MMDistributedDataParallel``      Without a GPU, DDP takes no ``device_ids``, and torch has no
                                   SyncBatchNorm.
``LoggerHook.after_test_epoch``    Every process writes its metrics to the same file; here only the
                                   first does.
torch's safe globals               mmengine's checkpoints hold their training log as HistoryBuffer,
                                   which ``torch.load(weights_only=True)`` refuses.
``checkpoint._safe_torch_load``    onedl-mmengine, the maintained fork, unpickles what torch
                                   refuses; here it loads as torch does.
an exit handler                    A process that ends without leaving its process group may be
                                   aborted by a thread of gloo.
=================================  =================================================================
"""

import atexit
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
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

#: Statistics that mmengine's logs name, methods of HistoryBuffer.
_STATISTICS = ('min', 'max', 'current', 'mean')


@cache
def apply() -> None:
    """Apply every patch of this module; calling it again changes nothing.

    >>> apply()  # doctest: +SKIP
    """
    torch.serialization.add_safe_globals(_log_globals())
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = torch.load
    for launcher, join in dict(pytorch=join_by_torch, slurm=join_by_slurm).items():
        name = f'_init_dist_{launcher}'
        setattr(dist_utils, name, partial(_join, getattr(dist_utils, name), join))
    MMDistributedDataParallel.__init__ = _wrap_on_cpus(MMDistributedDataParallel.__init__)
    LoggerHook.after_test_epoch = master_only(LoggerHook.after_test_epoch)
    atexit.register(leave_processes)


@contextmanager
def mmengine_log_allowed() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read the training log of mmengine's checkpoints.

    Only the few harmless classes that the log consists of become loadable, and only within this
    context.

    >>> import io
    >>> file = io.BytesIO()
    >>> torch.save(HistoryBuffer([2.0], [1]), file)
    >>> with mmengine_log_allowed():
    ...     torch.load(io.BytesIO(file.getvalue()), weights_only=True).current()
    np.float64(2.0)
    """
    allowed = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([one for one in _log_globals() if one not in allowed]):
        yield


@cache
def _log_globals() -> list[type | tuple[Callable, str]]:
    """Classes and functions that a pickled training log names."""
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
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions]


def _history_statistic(owner: type, name: str):
    """Replace ``getattr`` in a checkpoint: it may name a statistic of HistoryBuffer, no more."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which no checkpoint of '
            'mmengine does; it is not to be trusted'
        )
    return getattr(HistoryBuffer, name)


class _NextBatches:
    """Iterator over the batches not trained on yet, for the fork's loop, which skips the others."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.batches)

    def skip_iter(self, num_iters: int) -> None:
        """Skip nothing: the batches start with the next one to train on."""


def hand_batches(loop: IterBasedTrainLoop, batches: Iterator[Any], done: int) -> None:
    """Give an iteration-based loop its batches, starting with the next one to train on.

    A resumed loop of mmengine drops one by one as many batches as have been trained on; its fork
    drops them at once or, with ``fast_forward_on_resume``, not at all.

    Args:
        loop (IterBasedTrainLoop): Before it runs.
        batches (Iterator): Batches not trained on yet.
        done (int): Number of batches trained on.
    """
    if hasattr(loop.dataloader_iterator, 'skip_iter'):
        loop.dataloader_iterator = _NextBatches(batches)
    else:
        loop.dataloader_iterator = chain(repeat(None, done), batches)


def _wrap_on_cpus(wrap: Callable[..., None]) -> Callable[..., None]:
    """Let ``MMDistributedDataParallel.__init__`` accept a model on CPUs."""

    @wraps(wrap)
    def wrap_on_any(self, module: nn.Module, *args, **kwargs) -> None:
        if all(value.device.type == 'cpu' for value in module.parameters()):
            kwargs['device_ids'] = None
            module = revert_sync_batchnorm(module)  # as mmengine does in a single process
        wrap(self, module, *args, **kwargs)

    return wrap_on_any


def _join(on_devices: Callable, on_cpus: Callable, *args, **kwargs) -> None:
    """Join the other processes by mmengine's function, or by ours on CPUs."""
    (on_cpus if get_device() == 'cpu' else on_devices)(*args, **kwargs)
