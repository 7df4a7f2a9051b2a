"""LLA (Loss-aware Label Assignment, arXiv 2101.04307) for MMDetection 3.x.

Importing this package registers everything it offers, so a config needs one line::

    custom_imports = dict(imports=['mmdet_lla'], allow_failed_imports=False)

Where torch or mmdet is not installed, nothing can be registered and only ``mmdet_lla.runtime``
works, which needs neither: it runs exported detectors.
"""

from importlib.util import find_spec

from .version import __version__

#: What stands in the way of registering anything; empty where one trains.
_MISSING = [name for name in ('torch', 'mmengine', 'mmcv', 'mmdet') if find_spec(name) is None]

if not _MISSING:
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

__all__ = ['LLAAssigner', 'LLAHead', 'Predictor', '__version__']  # noqa: F405  (Predictor below)


def __getattr__(name: str):
    if name in __all__ and _MISSING:
        raise ImportError(
            f'mmdet_lla.{name} needs {", ".join(_MISSING)}, not installed here; '
            'mmdet_lla.runtime works without'
        )
    if name == 'Predictor':  # looked for only when asked for: training needs none of it
        from .inference import Predictor

        return Predictor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
