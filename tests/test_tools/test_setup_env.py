"""The set-up's decisions, with its probes of the machine and pip replaced."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

REPO = Path(__file__).resolve().parents[2]
LITE = {'torch': '2.13.0', 'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmdet': '3.3.0'}
FULL = {'torch': '2.13.0', 'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'}
ONEDL = {
    'torch': '2.13.0',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
}
STACKS = [
    [],
    ['numpy1'],
    ['onedl'],
    ['full'],
    ['numpy1', 'full'],
    ['extras'],
    ['numpy1', 'extras'],
]


def pins_of(setup_env, *added):
    return setup_env.all_pins(setup_env.requirement_files(REPO, added))


# ------------------------------------------------------------------------------ versions
def test_pins_are_read_without_comments_and_by_what_they_bring(setup_env):
    pins = setup_env.read_pins('# no\ntorch==2.13.0  # first\n\nPyYAML==6.0.3\nmmcv-lite==2.1.0\n')
    assert pins == {
        'torch': 'torch==2.13.0',
        'pyyaml': 'PyYAML==6.0.3',
        'mmcv': 'mmcv-lite==2.1.0',
    }


@pytest.mark.parametrize('added', STACKS, ids='-'.join)
def test_requirements_pin_everything_exactly(setup_env, added):
    pins = pins_of(setup_env, *added)
    assert {'torch', 'mmcv', 'mmengine', 'mmdet', 'setuptools', 'wheel'} <= set(pins)
    lines = [line.removesuffix('; python_version < "3"') for line in pins.values()]
    assert [line for line in lines if not re.fullmatch(r'[\w-]+==[\w.]+', line)] == []
    assert ('ninja' in pins) == (not pins['mmcv'].startswith('mmcv-lite'))


def test_added_files_replace_and_add_lines(setup_env, tmp_path):
    (tmp_path / 'requirements.txt').write_text('torch==2\nnumpy==2.4.6\nmmcv-lite==2.1.0\n')
    (tmp_path / 'requirements-new.txt').write_text('onedl-mmcv==2.3.6\nnumpy==2.2.6\nimaug==1\n')
    assert setup_env.all_pins(setup_env.requirement_files(tmp_path, ['new'])) == {
        'torch': 'torch==2',
        'numpy': 'numpy==2.2.6',
        'mmcv': 'onedl-mmcv==2.3.6',
        'imaug': 'imaug==1',
    }


def test_stacks_differ_in_what_they_are_named_for(setup_env):
    usual, onedl, numpy1, full = (
        pins_of(setup_env, *added) for added in ([], ['onedl'], ['numpy1'], ['full'])
    )
    assert [usual[name].split('==')[0] for name in ('mmengine', 'mmcv', 'mmdet')] == [
        'mmengine',
        'mmcv-lite',
        'mmdet',
    ]
    assert full['mmcv'] == usual['mmcv'].replace('-lite', '')
    assert all(onedl[name].startswith('onedl-') for name in ('mmengine', 'mmcv', 'mmdet'))
    assert usual['numpy'].startswith('numpy==2.') and numpy1['numpy'].startswith('numpy==1.')
    assert all(numpy1[name] == usual[name] for name in ('torch', 'mmengine', 'mmcv', 'mmdet'))


@pytest.mark.parametrize('added', [['numpy1', 'extras'], ['extras', 'numpy1']])
def test_stack_has_the_last_word_on_extras(setup_env, added):
    """No trackers takes numpy 1: pip refuses the two of them together."""
    pins = {name: Requirement(pin) for name, pin in pins_of(setup_env, *added).items()}
    assert not pins['trackers'].marker.evaluate()
    assert [name for name, pin in pins.items() if pin.marker] == ['trackers']
    assert pins['supervision'].specifier and str(pins['numpy'].specifier).startswith('==1.')


def test_unknown_name_is_answered_with_those_there_are(setup_env, tmp_path, capsys):
    assert setup_env.main(['--venv', str(tmp_path / 'venv'), '--add', 'numpy3']) == 1
    said = capsys.readouterr().out
    assert 'requirements-numpy3.txt is missing; there are: extras, full, numpy1, onedl' in said
    assert not (tmp_path / 'venv').exists()


@pytest.mark.skipif(shutil.which('make') is None, reason='this machine has no make')
@pytest.mark.parametrize(
    'variables, folder, added',
    [
        ([], '.venv', ''),
        (['STACK=onedl'], '.venv-onedl', '--add onedl'),
        (['MMCV=full'], '.venv-full', '--add full'),
        (['STACK=numpy1', 'MMCV=full'], '.venv-numpy1-full', '--add numpy1 --add full'),
    ],
)
def test_make_has_an_environment_for_each_stack(variables, folder, added):
    environ = {
        name: value
        for name, value in os.environ.items()  # a make above us leaves some
        if name not in ('MAKEFLAGS', 'MFLAGS', 'VENV', 'PYTHON', 'STACK', 'MMCV')
    }
    setup, test = (
        subprocess.run(
            ['make', '-n', target, *variables],
            cwd=REPO,
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for target in ('setup', 'test')
    )
    assert f"setup_env.py --venv '{folder}' {added}".rstrip() in setup
    assert 'extras' not in setup and '--add extras' in test
    assert f'{folder}/bin/python -m pytest' in test
    ignored = (REPO / '.gitignore').read_text().split()
    assert any(Path(folder + '/').match(pattern) for pattern in ignored)


# ------------------------------------------------------------------------------ interpreter
def interpreters(**versions):
    def probe(name):
        version = versions.get(Path(name).name.replace('.', '_'))
        return version and (version, {})

    return probe


def test_tested_python_comes_first(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.sys, 'executable', '/usr/bin/python3')
    found = interpreters(python3=(3, 12), python3_11=(3, 11))
    assert setup_env.choose_python(None, found) == 'python3.11'
    assert setup_env.choose_python('python3', found) == 'python3'
    others = interpreters(python3=(3, 10), python3_13=(3, 13))
    assert setup_env.choose_python(None, others) == 'python3.13'


def test_wrong_pythons_are_listed(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.sys, 'executable', '/usr/bin/python3')
    message = r'3\.13 is missing \(no python3\.11, /usr/bin/python3 is 3\.8, .*apt install'
    with pytest.raises(setup_env.SetupError, match=message):
        setup_env.choose_python(None, interpreters(python3=(3, 8)))
    with pytest.raises(setup_env.SetupError, match='no nowhere'):
        setup_env.choose_python('nowhere', interpreters())


def test_probe_of_this_interpreter_and_of_none(setup_env, tmp_path):
    version, dists = setup_env.probe(sys.executable)
    assert version == sys.version_info[:2]
    assert dists['torch'].startswith('2.') and {'mmcv', 'mmcv-lite', 'onedl-mmcv'} & set(dists)
    assert setup_env.probe(tmp_path / 'python') is None


# ------------------------------------------------------------------------------ which mmcv
@pytest.mark.parametrize(
    'dists, added, fits',
    [
        ({}, [], True),
        (LITE, [], True),
        (FULL, [], True),
        (LITE, ['numpy1', 'full'], True),
        (LITE, ['onedl'], False),
        ({}, ['onedl'], True),
        (ONEDL, ['onedl'], True),
        (ONEDL, [], False),
        ({**FULL, **ONEDL}, [], False),
        ({**FULL, **ONEDL}, ['onedl'], False),
    ],
)
def test_no_family_is_installed_over_the_other(setup_env, dists, added, fits):
    pins = pins_of(setup_env, *added)
    if fits:
        setup_env.check_one_family(dists, pins, Path('/v'))
        return
    with pytest.raises(setup_env.SetupError, match='/v has .*mmengine.* overwrite') as error:
        setup_env.check_one_family(dists, pins, Path('/v'))
    others = {name for name in dists if name.startswith('onedl') != (added == ['onedl'])}
    command = str(error.value).split('/v/bin/python -m pip uninstall ')[1]
    assert command.split() == sorted(others - {'torch'})


class Machine:
    """An environment whose packages are made up; notes what pip is asked for."""

    def __init__(self, setup_env, monkeypatch, dists, works=True):
        self.asked = []
        monkeypatch.setattr(setup_env, 'probe', lambda python: ((3, 11), dists))
        monkeypatch.setattr(
            setup_env, 'operators_of', lambda python: 'not available' if works else None
        )
        monkeypatch.setattr(setup_env, 'verify', lambda python: None)
        monkeypatch.setattr(
            setup_env, 'pip', lambda python, *arguments: self.asked.append(list(arguments))
        )
        monkeypatch.setattr(
            setup_env.compile_mmcv,
            'install',
            lambda python, pin: self.asked.append(['compile', pin]),
        )

    def installed(self):
        """All that pip was asked to install."""
        return {name for line in self.asked if line[0] == 'install' for name in line[1:]}


@pytest.mark.parametrize(
    'dists, works, added, compiles, goes, mmcv',
    [
        ({}, False, [], None, None, 'mmcv-lite==2.1.0'),
        (LITE, False, [], None, None, 'mmcv-lite==2.1.0'),
        (FULL, True, [], None, None, None),  # made before there was a choice
        (FULL, False, [], None, 'mmcv', 'mmcv-lite==2.1.0'),
        ({}, False, ['full'], 'mmcv==2.1.0', None, None),
        (LITE, False, ['full'], 'mmcv==2.1.0', 'mmcv-lite', None),
        (FULL, True, ['full'], None, None, None),
        ({**FULL, 'mmcv': '2.0.1'}, True, ['full'], 'mmcv==2.1.0', None, None),
        ({}, False, ['onedl'], 'onedl-mmcv==2.3.6', None, None),
        (ONEDL, True, ['onedl'], None, None, None),
        ({**ONEDL, 'onedl-mmcv': '2.3.5'}, True, ['onedl'], 'onedl-mmcv==2.3.6', None, None),
    ],
)
def test_environment_of_ours_gets_the_mmcv_of_its_stack(
    setup_env, monkeypatch, dists, works, added, compiles, goes, mmcv
):
    machine = Machine(setup_env, monkeypatch, dists, works)
    pins = pins_of(setup_env, *added)
    setup_env.install(Path('/v'), True, pins, added)
    assert [line[1] for line in machine.asked if line[0] == 'compile'] == [compiles] * bool(
        compiles
    )
    assert [line[-1] for line in machine.asked if line[0] == 'uninstall'] == [goes] * bool(goes)
    installed = machine.installed()
    assert {name for name in installed if 'mmcv' in name} == {mmcv} - {None}
    assert (pins['torch'] in installed) == ('torch' not in dists)
    assert pins['mmdet'] in installed and str(REPO) in installed
    if compiles:
        assert machine.asked.index(['compile', compiles]) > 0, 'torch comes first'


@pytest.mark.parametrize(
    'dists, works, added, extra',
    [
        ({'torch': '2.9.0+cu130'}, False, [], 'lite'),
        (LITE, False, [], 'lite'),
        (FULL, True, [], 'openmmlab'),
        (FULL, True, ['full'], 'openmmlab'),
        ({**FULL, 'mmcv': '2.0.1'}, True, ['full'], 'openmmlab'),
        (ONEDL, True, [], 'onedl'),
        (ONEDL, True, ['extras'], 'onedl'),
        ({**LITE, 'numpy': '2.4.6'}, False, ['extras'], 'lite'),
        ({**LITE, 'numpy': '1.26.4'}, False, ['extras'], 'lite'),
    ],
)
def test_environment_of_the_users_is_completed(
    setup_env, tmp_path, monkeypatch, dists, works, added, extra
):
    """What is there stays, and what is missing comes from the same family."""
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    machine = Machine(setup_env, monkeypatch, dists, works)
    setup_env.set_up(tmp_path, None, added)
    extras = f'{extra},tests,tensorboard'
    if 'extras' in added:  # trackers, of `predict`, would replace numpy 1
        extras += ',export,ray' if dists.get('numpy') == '1.26.4' else ',predict,export,ray'
    assert machine.asked == [['install', '--editable', f'{REPO}[{extras}]']]


def test_operators_that_do_not_load_are_the_users_to_mend(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    machine = Machine(setup_env, monkeypatch, FULL, works=False)
    with pytest.raises(
        setup_env.SetupError, match='operators of mmcv 2.1.0 do not load.*MMCV=full'
    ):
        setup_env.set_up(tmp_path, None, [])
    assert machine.asked == []


# ------------------------------------------------------------------------------ the stamp
def site(venv, *dists):
    folder = venv / 'lib' / 'python3.11' / 'site-packages'
    for dist in dists:
        (folder / f'{dist}.dist-info').mkdir(parents=True)
    return folder


def test_set_up_is_finished_until_anything_changes(setup_env, tmp_path):
    stamp = tmp_path / 'stamp.json'
    folder = site(tmp_path, 'torch-2.13.0', 'numpy-2.4.6')
    assert setup_env.unfinished(stamp, 'a') == 'is not finished'
    setup_env.write_stamp(stamp, 'a')
    assert setup_env.unfinished(stamp, 'a') is None
    assert setup_env.unfinished(stamp, 'b') == 'is of other versions'
    (folder / 'torch-2.13.0.dist-info').rename(folder / 'torch-2.14.0.dist-info')
    assert setup_env.unfinished(stamp, 'a') == 'has lost torch-2.13.0'
    stamp.write_text('{"finger')
    assert setup_env.unfinished(stamp, 'a') == 'is not finished'
    assert setup_env.unfinished(tmp_path / 'no' / 'stamp', 'a') == 'is not there'


def test_fingerprint_follows_the_pins_and_the_place(setup_env, tmp_path):
    for name in ('one', 'two'):
        (tmp_path / name / 'tools').mkdir(parents=True)
        for file in ('requirements.txt', 'requirements-new.txt', 'setup.cfg', 'tools/setup_env.py'):
            (tmp_path / name / file).write_text(file)

    def fingerprint(name, added=()):
        place = tmp_path / name
        return setup_env.fingerprint(place, setup_env.requirement_files(place, added))

    before = fingerprint('one')
    assert before == fingerprint('one') and before != fingerprint('two')
    assert fingerprint('one', ['new']) != before
    (tmp_path / 'one' / 'requirements-new.txt').write_text('torch==2.14.0')
    assert fingerprint('one') == before
    (tmp_path / 'one' / 'setup.cfg').write_text('[more]')
    assert fingerprint('one') != before


@pytest.mark.parametrize('added', [[], ['extras']])
def test_finished_set_up_does_nothing(setup_env, tmp_path, monkeypatch, capsys, added):
    """Extras have a stamp of their own: without them it is finished before."""
    files = setup_env.requirement_files(REPO, added)
    name = '.mmdet-lla-setup{}.json'.format('-extras' if added else '')
    setup_env.write_stamp(tmp_path / name, setup_env.fingerprint(REPO, files))
    monkeypatch.setattr(setup_env, 'install', pytest.fail)
    arguments = [part for name in added for part in ('--add', name)]
    assert setup_env.main(['--venv', str(tmp_path), *arguments]) == 0
    assert capsys.readouterr().out == ''


def test_broken_off_set_up_leaves_no_stamp(setup_env, tmp_path, monkeypatch, capsys):
    """Neither of the set-up that was finished before."""
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    stamp = tmp_path / '.mmdet-lla-setup.json'
    setup_env.write_stamp(stamp, 'of other versions')
    Machine(setup_env, monkeypatch, LITE)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, 'pip', interrupt)
    assert setup_env.main(['--venv', str(tmp_path)]) == 130
    assert not stamp.exists()
    said = capsys.readouterr().out
    assert 'is of other versions: setting it up' in said and 'broken off' in said


def test_broken_environment_of_ours_is_made_anew(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    (tmp_path / setup_env.MADE_HERE).touch()
    made = []
    monkeypatch.setattr(setup_env, 'probe', lambda python: None)
    monkeypatch.setattr(setup_env, 'choose_python', lambda wanted: 'python3.11')
    monkeypatch.setattr(setup_env, 'make_environment', lambda *arguments: made.append(arguments))
    monkeypatch.setattr(setup_env, 'install', lambda *arguments: None)
    monkeypatch.setattr(setup_env, 'verify', lambda python: None)
    setup_env.set_up(tmp_path, None, [])
    assert made == [(tmp_path, 'python3.11')]


def test_environment_that_is_no_environment_is_left_alone(setup_env, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'precious').touch()
    assert setup_env.main(['--venv', str(home)]) == 1
    assert 'no bin/python that runs' in capsys.readouterr().out
    assert [path.name for path in home.iterdir()] == ['precious']


# ------------------------------------------------------------------------------ what fails
@pytest.mark.parametrize(
    'error, hint',
    [
        ('ImportError: libGL.so.1: cannot open shared object file', 'apt install libgl1 '),
        ('ImportError: libxcb.so.1: cannot open shared object file', 'apt install libgl1 '),
        ("ModuleNotFoundError: No module named 'mmdet'", "No module named 'mmdet'"),
    ],
)
def test_what_does_not_import_is_told_with_its_package(setup_env, monkeypatch, error, hint):
    result = SimpleNamespace(returncode=1, stderr=f'Traceback\n{error}\n', stdout='')
    monkeypatch.setattr(setup_env.subprocess, 'run', lambda *args, **options: result)
    with pytest.raises(setup_env.SetupError, match=f'do not work together: .*{re.escape(hint)}'):
        setup_env.verify(Path('/v/bin/python'))


def test_failure_of_pip_stops_with_its_command(setup_env):
    with pytest.raises(setup_env.SetupError, match='/bin/false -m pip install nothing'):
        setup_env.pip('/bin/false', 'install', 'nothing')


def test_lock_is_waited_for(compile_mmcv, tmp_path, monkeypatch):
    lock = tmp_path / 'lock'
    script = (
        f'import fcntl, sys; file = open({str(lock)!r}, "w"); fcntl.flock(file, 2); '
        'print("held", flush=True); sys.stdin.read()'
    )
    said = []

    def say(text):
        said.append(text)
        holder.stdin.close()  # lets the holder go

    monkeypatch.setattr(compile_mmcv, 'say', say)
    with subprocess.Popen(
        [sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b'held\n'
        with compile_mmcv.locked(lock, 'waiting for the other'):
            assert holder.wait() == 0
    assert said == ['waiting for the other']
