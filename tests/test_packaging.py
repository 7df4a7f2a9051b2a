"""Configs and tools travel with the package, and mmengine finds them there."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mmengine.utils
import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import HOOKS, MODELS, DefaultScope
from packaging.requirements import Requirement

from mmdet_lla.version import __version__

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
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            '-q',
            'wheel',
            '--no-deps',
            '--no-build-isolation',
            '--wheel-dir',
            str(folder),
            str(sources),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob('*.whl')
    return wheel


def files_in(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_wheel_ships_configs_tools_and_index(wheel):
    assert wheel.name == f'mmdet_lla-{__version__}-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name[len('mmdet_lla/.mim/') :] for name in names if '/.mim/' in name}
    assert shipped == {'model-index.yml'} | {
        f'{folder}/{file}' for folder in ('configs', 'tools') for file in files_in(REPO / folder)
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


def test_inherited_config_says_the_same_and_builds(tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(f"_base_ = 'mmdet_lla::{LLA}'\nmodel = dict(backbone=dict(init_cfg=None))\n")
    config = Config.fromfile(mine)
    direct = Config.fromfile(REPO / 'configs' / LLA)
    assert config.model.train_cfg.assigner.type == 'LLAAssigner'
    assert config.model.bbox_head == direct.model.bbox_head
    assert config.train_dataloader.batch_size == direct.train_dataloader.batch_size

    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    assert type(model.bbox_head).__name__ == 'LLAHead'


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


def requirements(text):
    return [
        Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith('#')
    ]


@pytest.mark.parametrize(
    'stack, family', [('', 'lite'), ('numpy1', 'lite'), ('full', 'openmmlab'), ('onedl', 'onedl')]
)
def test_requirements_allow_the_pins(stack, family):
    """People's own environments may differ from the pins, and the pins must be among them."""
    config = configparser.ConfigParser()
    config.read(REPO / 'setup.cfg')
    extras = dict(config['options.extras_require'])
    for other in {'lite', 'openmmlab', 'onedl'} - {family}:
        del extras[other]
    loose = {
        requirement.name: requirement.specifier
        for text in [config['options']['install_requires'], *extras.values()]
        for requirement in requirements(text)
    }
    pins = {}
    files = ['requirements.txt', 'requirements-extras.txt']
    for name in [*files, *([f'requirements-{stack}.txt'] if stack else [])]:
        pins.update({pin.name: pin for pin in requirements((REPO / name).read_text())})
    for pin in pins.values():
        version = str(pin.specifier)[2:]
        assert version in loose.pop(pin.name, pin.specifier), pin
    assert loose == {}, 'required but not pinned'


def test_neither_openmmlab_nor_its_fork_is_required():
    """pip would install one over the other: they are different names of the same modules."""
    config = configparser.ConfigParser()
    config.read(REPO / 'setup.cfg')
    required = {
        requirement.name for requirement in requirements(config['options']['install_requires'])
    }
    assert not [name for name in required if 'mm' in name], required
