"""Reconciles torch with mmengine; the one place that does.

torch >= 2.6 unpickles only tensors and allow-listed classes. mmengine's checkpoints carry their
training log in a few harmless classes more, named here. Nothing else becomes loadable.
"""

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine's ``CheckpointHook`` wrote."""
    try:
        from numpy._core.multiarray import _reconstruct, scalar
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct, scalar
    dtypes = {type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'bool')}
    # A pickle names numpy's functions by the module of the numpy that wrote it, 1 or 2.
    functions = [(function, f'numpy.{core}.multiarray.{function.__name__}')
                 for function in (_reconstruct, scalar) for core in ('core', '_core')]
    torch.serialization.add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions])


if hasattr(torch.serialization, 'add_safe_globals'):
    allow_mmengine_checkpoints()
