"""Registers this package with mmengine and mmdet without importing either of them.

Registries of mmengine have ``locations``: modules that they import when a type is first looked up.
That is how mmdet registers its own classes, and how this package does:

===============  ===============================
registry         module that it then imports
===============  ===============================
MODELS           mmdet_lla.heads
TASK_UTILS       mmdet_lla.assigners.registered
DATASETS         mmdet_lla.datasets
TRANSFORMS       mmdet_lla.datasets
METRICS          mmdet_lla.evaluation.registered
HOOKS            mmdet_lla.hooks
OPTIM_WRAPPERS   mmdet_lla.optim
===============  ===============================

A registry that is there already gets its location at once; if it has been asked for a type before,
the module is imported at once. For one that comes later, a finder on ``sys.meta_path`` waits for
the module that defines it. In the same way mmengine learns where ``mmdet_lla::`` and
``mmdet_lla://`` paths lead.

mmcv-lite comes without the compiled operators ``mmcv._ext``. A second finder, asked after all
others, answers with :mod:`mmdet_lla.ops`; a compiled mmcv is always found before it.

Nothing else in mmengine, mmdet, mmcv or torch changes.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from .models import load_shipped

#: What registries import for this package's classes.
LOCATIONS = dict(
    MODELS='mmdet_lla.heads',
    TASK_UTILS='mmdet_lla.assigners.registered',
    DATASETS='mmdet_lla.datasets',
    TRANSFORMS='mmdet_lla.datasets',
    METRICS='mmdet_lla.evaluation.registered',
    HOOKS='mmdet_lla.hooks',
    OPTIM_WRAPPERS='mmdet_lla.optim',
)
SCOPE = 'mmdet_lla'


def add_locations(registries: ModuleType) -> None:
    """Let the registries of a module import this package's classes.

    Args:
        registries (ModuleType): ``mmengine.registry`` or ``mmdet.registry``.
    """
    for name, location in LOCATIONS.items():
        registry = getattr(registries, name)
        if location in registry._locations:
            continue
        # A new list: registries of mmengine without locations share one.
        registry._locations = [*registry._locations, location]
        if registry._imported:  # it does not look at its locations again
            import_module(location)


def add_scope(config_utils: ModuleType) -> None:
    """Let configs inherit ``mmdet_lla::...``.

    mmengine asks pkg_resources where a distribution lies, which is wrong for an editable install.
    For a module that is no distribution it asks Python, which is right for both.
    """
    config_utils.MODULE2PACKAGE[SCOPE] = 'mmdet_lla.version'


def add_scheme(checkpoint: ModuleType) -> None:
    """Let mmengine load ``mmdet_lla://lla-s``, the weights that ship."""
    checkpoint.CheckpointLoader.register_scheme('mmdet_lla://', load_shipped, force=True)


class RegistrationFinder:
    """Registers this package in a module of mmengine or mmdet when that has been imported."""

    AFTER: dict[str, Callable[[ModuleType], None]] = {
        'mmengine.config.utils': add_scope,
        'mmengine.registry': add_locations,
        'mmengine.runner.checkpoint': add_scheme,
        'mmdet.registry': add_locations,
    }

    @classmethod
    def find_spec(cls, name: str, path=None, target=None) -> ModuleSpec | None:
        """The module that Python finds, with one step after its own code."""
        if name not in cls.AFTER:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                cls.AFTER[name](module)

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


class OperatorFinder:
    """Finds ``mmcv._ext`` where mmcv has no compiled operators."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        """:mod:`mmdet_lla.ops` under mmcv's name, for ``mmcv._ext`` only."""
        if name != 'mmcv._ext':
            return None
        directory = Path(__file__).parent / 'ops'
        return spec_from_file_location(
            name, directory / '__init__.py', submodule_search_locations=[str(directory)]
        )


def install() -> None:
    """Register this package now or as soon as mmengine and mmdet are imported; once."""
    if RegistrationFinder in sys.meta_path:
        return
    sys.meta_path.insert(0, RegistrationFinder)  # type: ignore[arg-type]
    sys.meta_path.append(OperatorFinder)  # type: ignore[arg-type]
    for name, register in RegistrationFinder.AFTER.items():
        if name in sys.modules:
            register(sys.modules[name])
