"""LLA (Loss-aware Label Assignment, arXiv 2101.04307) for MMDetection 3.x.

Importing this package registers everything it offers, before or after mmdet is imported, so a
config needs one line::

    custom_imports = dict(imports=['mmdet_lla'], allow_failed_imports=False)

The import itself loads neither torch nor mmdet and patches nothing; :mod:`mmdet_lla.import_hooks`
says how it registers, :mod:`mmdet_lla.compat` what our commands change in mmengine.

>>> import mmdet_lla
>>> from mmdet.registry import MODELS, TASK_UTILS
>>> MODELS.get('LLAHead') is mmdet_lla.LLAHead, TASK_UTILS.get('LLAAssigner').__name__
(True, 'LLAAssigner')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import import_hooks
from .version import __version__

if TYPE_CHECKING:
    from .ablation import ablate
    from .analysis.errors.report import analyze
    from .assigners import LLAAssigner, OTAAssigner, POTOAssigner
    from .evaluation.crowd import evaluate_crowd
    from .export import export_detector
    from .heads import LLAHead
    from .inference import Predictor, Tiles

#: Module of each name, imported when the name is first used.
_MODULES = dict(
    LLAAssigner='assigners',
    LLAHead='heads',
    OTAAssigner='assigners',
    POTOAssigner='assigners',
    Predictor='inference',
    Tiles='inference',
    ablate='ablation',
    analyze='analysis.errors.report',
    evaluate_crowd='evaluation.crowd',
    export_detector='export',
)
__all__ = [
    'LLAAssigner',
    'LLAHead',
    'OTAAssigner',
    'POTOAssigner',
    'Predictor',
    'Tiles',
    '__version__',
    'ablate',
    'analyze',
    'evaluate_crowd',
    'export_detector',
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        module = import_module(f'{__name__}.{_MODULES[name]}')
    except ModuleNotFoundError as error:
        if error.name not in ('torch', 'mmengine', 'mmcv', 'mmdet'):
            raise
        raise ImportError(
            f'mmdet_lla.{name} needs {error.name}, which is not installed; mmdet_lla.runtime runs '
            'exported detectors without it'
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


import_hooks.install()
