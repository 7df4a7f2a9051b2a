"""Importing the package registers its classes in every order, and changes nothing else."""

import subprocess
import sys

import pytest

import mmdet_lla

#: What a process does, and what it then prints.
PROGRAMS = {
    'light parts load neither torch nor mmdet': (
        """
import sys, mmdet_lla, mmdet_lla.runtime, mmdet_lla.models, mmdet_lla.utils
print([name for name in ('torch', 'mmengine', 'mmcv', 'mmdet') if name in sys.modules])
""",
        '[]',
    ),
    'before mmdet': (
        """
import mmdet_lla
from mmdet.registry import HOOKS, MODELS
print(MODELS.get('LLAHead').__name__, HOOKS.get('NaNGuardHook').__name__)
from mmdet_lla.registry import REGISTRIES
found = {name: registry.get('Nothing') for name, registry in REGISTRIES.items()}
print(set(found.values()), REGISTRIES['HOOKS'].get('ExactResumeHook').__name__)
""",
        'LLAHead NaNGuardHook\n{None} ExactResumeHook',
    ),
    'after mmdet, whose registries have been used': (
        """
import mmengine.runner
from mmdet.registry import DATASETS, METRICS
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
HOOKS.get('IterTimerHook'), OPTIM_WRAPPERS.get('OptimWrapper')
import mmdet_lla
print(HOOKS.get('NaNGuardHook').__name__, OPTIM_WRAPPERS.get('AutocastOptimWrapper').__name__)
print(METRICS.get('CrowdMetric').__name__, DATASETS.get('CrowdDataset').__name__)
""",
        'NaNGuardHook AutocastOptimWrapper\nCrowdMetric CrowdDataset',
    ),
    "by custom_imports, before anything of mmdet's": (
        """
from mmengine.config import Config
Config.fromfile('config.py')
from mmengine.registry import MODELS, DefaultScope
with DefaultScope.overwrite_default_scope('mmdet'):
    head = MODELS.build(dict(type='LLAHead', num_classes=1, in_channels=32, feat_channels=32))
print(type(head).__name__)
""",
        'LLAHead',
    ),
    'a class of ours first': (
        """
from mmdet_lla.heads import LLAHead
from mmdet.registry import MODELS, TASK_UTILS
print(MODELS.get('LLAHead') is LLAHead, TASK_UTILS.get('OTAAssigner').__name__)
""",
        'True OTAAssigner',
    ),
    'nothing of an unrelated training changes': (
        """
import atexit, sys, torch, mmengine.dist.utils, mmengine.runner, mmengine.hooks, mmengine.model
from mmengine.registry import HOOKS, MODELS

LIBRARIES = ('mmengine', 'mmdet', 'mmcv', 'torch')

def state():
    owners = {
        id(thing): thing
        for name, module in list(sys.modules.items())
        if name.split('.')[0] in LIBRARIES and module
        for thing in [module, *vars(module).values()]
        if isinstance(thing, (type, type(sys)))
        and getattr(thing, '__module__', name).split('.')[0] in LIBRARIES
    }
    functions = {
        (key, name): value
        for key, thing in owners.items()
        for name, value in list(vars(thing).items())
        if callable(value) or isinstance(value, (classmethod, staticmethod, property))
    }
    allowed = torch.serialization.get_safe_globals()
    return functions, allowed, atexit._ncallbacks(), set(HOOKS.module_dict)

functions, *rest = state()
import mmdet_lla
after, *rest_after = state()
changed = [key for key, function in functions.items() if after.get(key) is not function]
print(len(functions) > 5000, changed, rest == rest_after)
""",
        'True [] True',
    ),
}


@pytest.mark.parametrize('name', PROGRAMS)
def test_import(name, tmp_path):
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['mmdet_lla'])\n")
    program, printed = PROGRAMS[name]
    result = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == printed


def test_every_name_of_the_package_is_there():
    assert set(mmdet_lla.__all__) <= set(dir(mmdet_lla))
    for name in mmdet_lla.__all__:
        assert getattr(mmdet_lla, name) is not None
    with pytest.raises(AttributeError, match='has no attribute'):
        mmdet_lla.LLAHed  # noqa: B018


@pytest.mark.parametrize(
    'registry, name',
    [
        ('MODELS', 'LLAHead'),
        ('TASK_UTILS', 'POTOAssigner'),
        ('DATASETS', 'CityPersonsDataset'),
        ('TRANSFORMS', 'LoadCrowdBoxes'),
        ('METRICS', 'CrowdMetric'),
        ('METRICS', 'CityPersonsMetric'),
        ('HOOKS', 'AssignmentHook'),
        ('OPTIM_WRAPPERS', 'AutocastOptimWrapper'),
    ],
)
def test_each_registry_imports_its_own_classes(registry, name, python):
    code = f'from mmdet import registry; print(registry.{registry}.get({name!r}).__name__)'
    done = subprocess.run(
        [python, '-c', f'import mmdet_lla; {code}'], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.endswith(f'{name}\n'), done.stderr


def test_each_registry_has_its_own_locations():
    from mmdet import registry as mmdet_registry
    from mmengine import registry as mmengine_registry

    for registries in (mmengine_registry, mmdet_registry):
        for name, location in mmdet_lla.import_hooks.LOCATIONS.items():
            locations = getattr(registries, name)._locations
            assert [one for one in locations if one.startswith('mmdet_lla')] == [location]
    assert not mmengine_registry.RUNNERS._locations
