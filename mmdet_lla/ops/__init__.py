"""What stands in for ``mmcv._ext``, mmcv's compiled operators, where mmcv came without them.

Loaded under that name by ``mmdet_lla_finder``, and so it imports nothing of this package outside
this folder. The operators that the detectors of this package and mmdet on a CPU need are here in
plain torch; every other name is a function that says what is missing and how to get it.
"""

from collections.abc import Callable
from typing import NoReturn

from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .missing import missing_operator
from .nms import nms, nms_match, softnms
from .roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """What mmengine's log of the environment names as the compiler."""
    return 'none: operators in plain torch, of mmdet_lla'


def get_compiling_cuda_version() -> str:
    """As mmcv says it where it was compiled for the CPU alone."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """An operator that is not here: a function that says so when it is called."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return missing_operator(name)
