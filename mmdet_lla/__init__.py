"""LLA (Loss-aware Label Assignment, arXiv 2101.04307) for MMDetection 3.x.

Importing this package registers everything it offers, so a config needs one line::

    custom_imports = dict(imports=['mmdet_lla'], allow_failed_imports=False)
"""

import mmdet_lla_finder  # noqa: F401  (before mmcv asks for its operators)

from . import (
    compat,  # noqa: F401  (must run before any checkpoint is read)
    registry,  # noqa: F401  (lets mmengine read mmdet_lla:: paths)
)
from .assigners import LLAAssigner
from .datasets import *  # noqa: F401,F403
from .evaluation import *  # noqa: F401,F403
from .heads import LLAHead
from .hooks import *  # noqa: F401,F403
from .optim import *  # noqa: F401,F403
from .version import __version__

__all__ = ['LLAAssigner', 'LLAHead', '__version__']
