"""Replacements in plain torch for ``mmcv._ext``, mmcv's compiled operators.

Loaded under that name where mmcv has no compiled operators, so nothing here imports the rest of the
package. The operators that the shipped configs call are here; every other name is a function that
raises NotImplementedError and says how to get the operator.
"""

from collections.abc import Callable
from typing import NoReturn

from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
)
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from .missing import missing_operator
from .nms import nms, softnms
from .roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """Return what mmengine's log of the environment names as the compiler."""
    return 'none: operators in plain torch, of mmdet_lla'


def get_compiling_cuda_version() -> str:
    """Return the answer of a mmcv compiled for the CPU alone."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Return a function that says how to get an operator that is not here."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return missing_operator(name)
