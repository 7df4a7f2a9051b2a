"""Configs and tools travel with the package, and mmengine finds them there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mmengine.utils
import pytest
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import HOOKS, MODELS, DefaultScope
from packaging.requirements import Requirement

from mmdet_lla.version import __version__

tomllib = pytest.importorskip('tomllib')  # Python 3.11
REPO = Path(__file__).resolve().parents[1]
SOURCES = (
    'mmdet_lla',
    'configs',
    'tools',
    'setup.cfg',
    'pyproject.toml',
    'model-index.yml',
    'LICENSE',
    'MANIFEST.in',
)
LLA = 'demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
INHERIT = """
import sys
sys.path.insert(0, sys.argv[1])
import mmengine.config
from mmdet_lla import registry
from mmengine.config import Config
assert registry.__file__.startswith(sys.argv[1]), registry.__file__
print(Config.fromfile(sys.argv[2]).model.bbox_head.type)
"""


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """A copy: a build leaves traces beside its sources."""
    source = tmp_path_factory.mktemp('source')
    for name in SOURCES:
        if (REPO / name).is_dir():
            shutil.copytree(
                REPO / name,
                source / name,
                symlinks=True,
                ignore=shutil.ignore_patterns('__pycache__'),
            )
        else:
            shutil.copy2(REPO / name, source / name)
    return source


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    directory = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [
            *(sys.executable, '-m', 'pip', '-q', 'wheel', '--no-deps', '--no-build-isolation'),
            *('--wheel-dir', str(directory), str(sources)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob('*.whl')
    return wheel


def files_in(directory):
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_wheel_ships_configs_tools_and_index(wheel):
    assert wheel.name == f'mmdet_lla-{__version__}-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name[len('mmdet_lla/.mim/') :] for name in names if '/.mim/' in name}
    assert shipped == {'model-index.yml'} | {
        f'{directory}/{file}'
        for directory in ('configs', 'tools')
        for file in files_in(REPO / directory)
    }
    modules = {f'mmdet_lla/{file}' for file in files_in(REPO / 'mmdet_lla') if file.endswith('.py')}
    assert modules <= names
    assert {name.split('/')[0] for name in names} == {
        'mmdet_lla',
        f'mmdet_lla-{__version__}.dist-info',
    }


@pytest.mark.slow
def test_config_is_inherited_from_an_installed_wheel(wheel, tmp_path):
    site = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = 'mmdet_lla::{LLA}'\n")
    result = subprocess.run(
        [sys.executable, '-c', INHERIT, str(site), str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == 'LLAHead'


def test_package_is_found_where_python_finds_it():
    name = MODULE2PACKAGE['mmdet_lla']
    assert mmengine.utils.is_installed(name)
    assert mmengine.utils.get_installed_path(name) == str(REPO / 'mmdet_lla')


@pytest.mark.parametrize('name', ['configs', 'tools', 'model-index.yml'])
def test_checkout_links_what_a_wheel_ships(name):
    link = REPO / 'mmdet_lla' / '.mim' / name
    assert link.resolve() == REPO / name
    assert not os.path.isabs(os.readlink(link))


def test_types_are_looked_up_from_our_scope_to_mmdet_to_mmengine():
    """A type without a scope of its own, in a dict that was inherited from us."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        ours = MODELS.build(
            dict(
                type='LLAHead',
                _scope_='mmdet_lla',
                num_classes=1,
                in_channels=32,
                feat_channels=32,
                stacked_convs=1,
            )
        )
        loss = MODELS.build(dict(type='GIoULoss', _scope_='mmdet_lla'))
        hook = HOOKS.build(dict(type='NumClassCheckHook', _scope_='mmdet_lla'))
        timer = HOOKS.build(dict(type='IterTimerHook', _scope_='mmdet_lla'))
    modules = [type(thing).__module__.split('.')[0] for thing in (ours, loss, hook, timer)]
    assert modules == ['mmdet_lla', 'mmdet', 'mmdet', 'mmengine']


def parse(lines):
    """Requirements by name, without those whose marker never holds."""
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith('#')]
    return {one.name.lower(): one for one in found}


@pytest.mark.parametrize(
    'stack, family', [('', 'lite'), ('numpy1', 'lite'), ('full', 'openmmlab'), ('onedl', 'onedl')]
)
def test_pins_of_every_stack_satisfy_the_package(stack, family):
    """make merges the files as here: a later line replaces an earlier one of that package."""
    project = tomllib.loads((REPO / 'pyproject.toml').read_text())['project']
    extras = project['optional-dependencies']
    chosen = [extras[name] for name in extras if name in (family, 'export', 'predict', 'ray')]
    loose = parse(sum([project['dependencies'], extras['tests'], *chosen], []))
    pins = {}
    for name in ['', '-extras', *([f'-{stack}'] if stack else [])]:
        pins.update(parse((REPO / f'requirements{name}.txt').read_text().splitlines()))
    removed = {name for name, pin in pins.items() if pin.marker and not pin.marker.evaluate()}
    assert (
        removed
        == {
            '': set(),
            'full': {'mmcv-lite'},
            'numpy1': {'trackers'},
            'onedl': {'mmcv-lite', 'mmengine', 'mmdet'},
        }[stack]
    )
    assert {str(pin.specifier)[:2] for pin in pins.values()} == {'=='}
    for name, requirement in loose.items():
        if name not in removed:
            assert str(pins[name].specifier)[2:] in requirement.specifier, name
    assert len({name for name in set(pins) - removed if name.endswith(('mmcv', 'mmcv-lite'))}) == 1


def test_neither_openmmlab_nor_its_fork_is_required():
    """pip would install one over the other: they are different names of the same modules."""
    project = tomllib.loads((REPO / 'pyproject.toml').read_text())['project']
    assert not [name for name in parse(project['dependencies']) if 'mm' in name]


def make(*words):
    result = subprocess.run(['make', '-n', *words], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    'options, environment, files',
    [
        ((), '.venv', 'requirements.txt requirements-extras.txt'),
        (
            ('STACK=onedl',),
            '.venv-onedl',
            'requirements.txt requirements-extras.txt requirements-onedl',
        ),
        (
            ('MMCV=full',),
            '.venv-full',
            'requirements.txt requirements-extras.txt requirements-full',
        ),
        (('VENV=mine',), 'mine', 'requirements.txt requirements-extras.txt'),
    ],
)
def test_make_test_sets_up_the_environment_that_it_uses(options, environment, files):
    commands = make('-W', 'pyproject.toml', 'test', *options)
    assert f"-m venv '{environment}'" in commands and f'{files}' in commands
    assert f'{environment}/bin/python -m pytest' in commands


def test_make_lists_its_targets():
    shown = subprocess.run(['make'], cwd=REPO, capture_output=True, text=True).stdout
    for target in ('demo', 'test', 'docs', 'lint', 'setup', 'clean'):
        assert f'make {target} ' in shown
