"""Reconciles torch with mmengine; the one place that does.

torch without a GPU has no device to set, as mmengine does for every process of several.

torch >= 2.6 unpickles only tensors and allow-listed classes. mmengine's checkpoints carry their
training log in a few harmless classes more, named here. Nothing else becomes loadable.
"""

import pickle

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.logging.history_buffer import HistoryBuffer

#: The statistics that mmengine's logs name, methods of HistoryBuffer.
_STATISTICS = ('min', 'max', 'current', 'mean')


def _history_statistic(owner: type, name: str):
    """What ``getattr`` may do in a checkpoint: name a statistic of HistoryBuffer, no more."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which no checkpoint of '
            'mmengine does; it is not to be trusted')
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
    functions = [(function, f'numpy.{core}.multiarray.{function.__name__}')
                 for function in (_reconstruct, scalar) for core in ('core', '_core')]
    functions += [(_history_statistic, f'{module}.getattr')
                  for module in ('builtins', '__builtin__')]
    torch.serialization.add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions])


def init_cpu_processes(launcher: str) -> None:
    """Join the other processes of torchrun on a machine without an accelerator.

    mmengine finds them joined and does not try, which would fail.

    Args:
        launcher (str): As the tools take it; all but 'pytorch' are left to mmengine.
    """
    if launcher == 'pytorch' and get_device() == 'cpu' and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')


if hasattr(torch.serialization, 'add_safe_globals'):
    allow_mmengine_checkpoints()
