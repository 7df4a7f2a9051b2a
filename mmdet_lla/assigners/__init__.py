"""Loss-aware label assignment.

Start with :mod:`.reference`, the rule in 60 plain lines. :func:`assign` and :class:`LLA` need torch
and NumPy only; the assigners for mmdet's heads are imported when first used.

>>> from mmdet_lla.assigners import LLAAssigner
>>> LLAAssigner(topk=5).topk
5
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .inputs import Assignment
from .lla import LLA, assign

if TYPE_CHECKING:
    from .registered import (
        LLAAssigner,
        OTAAssigner,
        POTOAssigner,
        TaskAlignedLLAAssigner,
        TaskAlignedOTAAssigner,
        View,
    )

__all__ = [
    'LLA',
    'Assignment',
    'LLAAssigner',
    'OTAAssigner',
    'POTOAssigner',
    'TaskAlignedLLAAssigner',
    'TaskAlignedOTAAssigner',
    'View',
    'assign',
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module('.registered', __name__), name)
