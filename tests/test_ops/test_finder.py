"""mmcv finds our operators where it has none of its own, and only there."""

import subprocess
import sys
from pathlib import Path

import pytest

import mmdet_lla_finder

REPO = Path(__file__).resolve().parents[2]
OPS = str(REPO / 'mmdet_lla' / 'ops' / '__init__.py')


def run(code, *args, flags=()):
    """What a new Python prints."""
    result = subprocess.run(
        [sys.executable, *flags, '-c', code, *map(str, args)],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def make_mmcv(folder, compiled):
    """A package named mmcv, with operators of its own or without."""
    (folder / 'mmcv').mkdir()
    (folder / 'mmcv' / '__init__.py').touch()
    if compiled:
        (folder / 'mmcv' / '_ext.py').touch()


@pytest.mark.parametrize('compiled', [False, True])
def test_finder_steps_aside_for_operators_that_are_there(tmp_path, compiled):
    make_mmcv(tmp_path, compiled)
    code = (
        'import sys; sys.path.insert(0, sys.argv[1]); import mmdet_lla_finder, mmcv._ext; '
        'print(mmcv._ext.__file__, "mmdet" in sys.modules, "mmdet_lla" in sys.modules)'
    )
    expected = str(tmp_path / 'mmcv' / '_ext.py') if compiled else OPS
    assert run(code, tmp_path) == [expected, 'False', 'False']


def test_finder_finds_nothing_else():
    find = mmdet_lla_finder.MmcvExtFinder.find_spec
    assert find('mmcv._ext').origin == OPS
    assert [find(name) for name in ('mmcv', 'mmcv.ops', '_ext', 'mmcv._ext.nms')] == [None] * 4


def test_finder_is_installed_once():
    mmdet_lla_finder.install()
    assert sys.meta_path.count(mmdet_lla_finder.MmcvExtFinder) == 1


def test_mmdets_own_models_find_the_operators_first():
    """As under mmdet's tools: the finder comes with Python, this package is not imported."""
    code = (
        'import mmdet_lla_finder, sys; from mmdet.apis import init_detector; '
        'import mmcv._ext; print(mmcv._ext.__file__, "mmdet_lla" in sys.modules)'
    )
    file, imported = run(code)
    assert imported == 'False'
    assert file == OPS or file.endswith('.so')


@pytest.mark.parametrize('there', [False, True])
def test_start_of_python_survives_that_the_finder_is_gone(there):
    """As after half an uninstallation: the .pth is left, the module is not."""
    (line,) = (REPO / 'mmdet_lla.pth').read_text().splitlines()
    assert line.startswith('import ')  # what site runs; all else it takes for a folder
    code = (
        'import sys; sys.path += sys.argv[2:]; exec(sys.argv[1]); '
        'print("mmdet_lla_finder" in sys.modules)'
    )
    places = [REPO] if there else []
    assert run(code, line, *places, flags=['-I', '-S']) == [str(there)]
