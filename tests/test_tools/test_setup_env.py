"""The set-up's decisions, with its probes of the machine replaced."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('setup_env', REPO / 'tools' / 'setup_env.py')
setup_env = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(setup_env)

Usage = namedtuple('Usage', 'total used free')


def make_wheel(path, names=('mmcv/__init__.py', 'mmcv/_ext.cpython-311-x86_64-linux-gnu.so')):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, 'x' * 100)
    return path


# ------------------------------------------------------------------------------ pins
def test_pins_are_read_with_names_and_without_comments():
    pins = setup_env.read_pins('# no\ntorch==2.13.0  # first\n\nPyYAML==6.0.3\n')
    assert pins == {'torch': 'torch==2.13.0', 'pyyaml': 'PyYAML==6.0.3'}


@pytest.mark.parametrize('stack', ['', *setup_env.stacks(REPO)])
def test_requirements_pin_everything_exactly(stack):
    pins = setup_env.stack_pins(REPO, stack)
    assert {'torch', 'mmcv', 'mmengine', 'mmdet', 'setuptools', 'wheel', 'ninja'} <= set(pins)
    assert [line for line in pins.values() if not re.fullmatch(r'[\w-]+==[\w.]+', line)] == []


# ------------------------------------------------------------------------------ stacks
def test_stack_replaces_and_adds_lines(tmp_path):
    (tmp_path / 'requirements.txt').write_text('torch==2\nnumpy==2.4.6\nmmcv==2.1.0\n')
    (tmp_path / 'requirements-new.txt').write_text('onedl-mmcv==2.3.6\nnumpy==2.2.6\nimaug==1\n')
    assert setup_env.stacks(tmp_path) == ['new']
    assert setup_env.stack_pins(tmp_path) == {
        'torch': 'torch==2',
        'numpy': 'numpy==2.4.6',
        'mmcv': 'mmcv==2.1.0',
    }
    assert setup_env.stack_pins(tmp_path, 'new') == {
        'torch': 'torch==2',
        'numpy': 'numpy==2.2.6',
        'mmcv': 'onedl-mmcv==2.3.6',
        'imaug': 'imaug==1',
    }


def test_stacks_differ_in_what_they_are_named_for():
    usual, onedl, numpy1 = (setup_env.stack_pins(REPO, name) for name in ('', 'onedl', 'numpy1'))
    assert [usual[name].split('==')[0] for name in ('mmengine', 'mmcv', 'mmdet')] == [
        'mmengine',
        'mmcv',
        'mmdet',
    ]
    assert [onedl[name].split('==')[0] for name in ('mmengine', 'mmcv', 'mmdet')] == list(
        setup_env.FORK
    )
    assert usual['numpy'].startswith('numpy==2.') and numpy1['numpy'].startswith('numpy==1.')
    assert all(numpy1[name] == usual[name] for name in ('torch', 'mmengine', 'mmcv', 'mmdet'))


def test_unknown_stack_is_answered_with_those_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    assert setup_env.main(['--venv', str(tmp_path / 'venv'), '--stack', 'numpy3']) == 1
    assert 'requirements-numpy3.txt is missing. Stacks: numpy1, onedl' in capsys.readouterr().out
    assert not (tmp_path / 'venv').exists()


@pytest.mark.parametrize('stack, folder', [('', '.venv'), ('onedl', '.venv-onedl')])
def test_stack_has_an_environment_of_its_own(monkeypatch, stack, folder):
    calls = []
    monkeypatch.setattr(setup_env, 'stamp_is_current', lambda venv, mark: False)
    monkeypatch.setattr(setup_env, 'set_up', lambda *args: calls.append(args))
    assert setup_env.main(['--stack', stack]) == 0
    assert calls == [(REPO / folder, None, setup_env.fingerprint(REPO, stack), stack)]
    ignored = (REPO / '.gitignore').read_text().split()
    assert any(Path(folder + '/').match(pattern) for pattern in ignored)


@pytest.mark.skipif(shutil.which('make') is None, reason='this machine has no make')
@pytest.mark.parametrize('stack, folder', [('', '.venv'), ('onedl', '.venv-onedl')])
def test_make_names_the_same_environment(stack, folder):
    environ = {
        name: value
        for name, value in os.environ.items()  # a make above us leaves some
        if name not in ('MAKEFLAGS', 'MFLAGS', 'VENV', 'PYTHON', 'STACK')
    }
    said = subprocess.run(
        ['make', '-n', 'test', f'STACK={stack}'],
        cwd=REPO,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"--venv '{folder}'" in said and f'{folder}/bin/python -m pytest' in said
    assert (f"--stack '{stack}'" in said) == bool(stack)


# ------------------------------------------------------------------------------ the fork
STOCK = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0', 'numpy': '2.4.6'}
ONEDL = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1'}


def test_fork_is_recognised():
    assert setup_env.uses_fork(ONEDL) and setup_env.uses_fork({'onedl-mmengine': '0.10.12'})
    assert not setup_env.uses_fork(STOCK) and not setup_env.uses_fork({})


@pytest.mark.parametrize(
    'dists, stack, fits',
    [
        ({}, '', True),
        (STOCK, '', True),
        (STOCK, 'numpy1', True),
        (STOCK, 'onedl', False),
        ({}, 'onedl', True),
        (ONEDL, 'onedl', True),
        (ONEDL, '', False),
        ({**STOCK, **ONEDL}, '', False),
        ({**STOCK, **ONEDL}, 'onedl', False),
    ],
)
def test_no_family_is_installed_over_the_other(dists, stack, fits):
    pins = setup_env.stack_pins(REPO, stack)
    if fits:
        setup_env.check_one_family(dists, pins, Path('/v'))
        return
    with pytest.raises(setup_env.SetupError, match='/v has .*mmengine.* overwrite') as error:
        setup_env.check_one_family(dists, pins, Path('/v'))
    command = str(error.value).split('/v/bin/python -m pip uninstall ')[1]
    assert command.split() == sorted(set(dists) - {'numpy'})


@pytest.mark.parametrize(
    'dists, stack, own, problem',
    [
        (STOCK, '', True, None),
        (ONEDL, 'onedl', True, None),
        ({}, 'onedl', True, 'is missing'),
        ({**ONEDL, 'onedl-mmcv': '2.3.5'}, 'onedl', True, 'is 2.3.5'),
        ({**ONEDL, 'onedl-mmcv': '2.3.5'}, 'onedl', False, None),
        (STOCK, 'onedl', True, 'is missing'),
    ],
)
def test_mmcv_of_either_family_stays_where_it_fits(monkeypatch, dists, stack, own, problem):
    monkeypatch.setattr(setup_env, 'ops_of', lambda python: 'not available')
    environment = setup_env.Environment(Path('/v'), own, setup_env.stack_pins(REPO, stack))
    environment.state = {'dists': dists, 'torch': '2.13.0'}
    assert environment.mmcv_problem(None) == problem


@pytest.mark.parametrize('dists, extra', [(STOCK, 'openmmlab'), (ONEDL, 'onedl')])
def test_environment_of_the_users_keeps_its_family(tmp_path, monkeypatch, dists, extra):
    """pip is never asked for the other one, and what is missing comes from the same."""
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(setup_env, 'ops_of', lambda python: 'not available')
    monkeypatch.setattr(setup_env, 'run_logged', lambda *args: None)
    monkeypatch.setattr(
        setup_env,
        'probe',
        lambda python: {
            'version': [3, 11, 7],
            'short': '3.11',
            'has_pip': True,
            'torch': '2.13.0',
            'cuda': None,
            'site': str(tmp_path),
            'dists': dists,
        },
    )
    asked = []
    monkeypatch.setattr(
        setup_env.Environment, 'pip', lambda self, arguments, *_: asked.extend(arguments)
    )
    setup_env.set_up(tmp_path, None, 'mark')
    assert asked == [
        'install',
        'setuptools<81',
        'wheel',
        'ninja',
        'install',
        '--no-build-isolation',
        '--editable',
        f'{REPO}[{extra},tests,tensorboard]',
    ]


# ------------------------------------------------------------------------------ wheel cache
BASE = dict(tag='cp311', platform='linux_x86_64', torch='2.13.0+cpu', mmcv='mmcv==2.1.0')


def test_wheel_key_names_what_the_wheel_depends_on():
    assert setup_env.wheel_key(**BASE) == 'cp311-linux_x86_64-torch2.13.0+cpu-mmcv2.1.0-cpuops'
    assert setup_env.wheel_key(**BASE, gpu='8.0;9.0').endswith('-cuda8.0_9.0')
    assert (
        setup_env.wheel_key(**{**BASE, 'mmcv': 'onedl-mmcv==2.3.6'})
        == 'cp311-linux_x86_64-torch2.13.0+cpu-onedl-mmcv2.3.6-cpuops'
    )


@pytest.mark.parametrize(
    'change',
    [
        dict(tag='cp312'),
        dict(platform='linux_aarch64'),
        dict(torch='2.13.0+cu130'),
        dict(torch='2.13.1+cpu'),
        dict(mmcv='mmcv==2.1.1'),
        dict(mmcv='onedl-mmcv==2.1.0'),
        dict(gpu='9.0'),
        dict(gpu='all'),
    ],
)
def test_wheel_key_differs_with_each_part(change):
    assert setup_env.wheel_key(**{**BASE, **change}) != setup_env.wheel_key(**BASE)


def test_cache_folder_follows_xdg():
    assert setup_env.cache_dir({'XDG_CACHE_HOME': '/cache'}) == Path('/cache/mmdet_lla/wheels')
    assert setup_env.cache_dir({}) == Path.home() / '.cache' / 'mmdet_lla' / 'wheels'


@pytest.mark.parametrize('mmcv', ['mmcv==2.1.0', 'onedl-mmcv==2.3.6'])
def test_stored_wheel_is_found_again(tmp_path, mmcv):
    name = mmcv.replace('==', '-').replace('onedl-', 'onedl_')
    wheel = make_wheel(tmp_path / 'built' / f'{name}-cp311-cp311-linux_x86_64.whl')
    folder = tmp_path / 'cache' / setup_env.wheel_key(**{**BASE, 'mmcv': mmcv})
    assert setup_env.cached_wheel(folder) is None
    stored = setup_env.store_wheel(wheel, folder)
    assert setup_env.cached_wheel(folder) == stored
    assert stored.read_bytes() == wheel.read_bytes()
    assert [path.name for path in folder.iterdir()] == [wheel.name]

    pins = {'torch': 'torch==2.13.0', 'mmcv': mmcv}
    python = {'tag': 'cp311', 'platform': 'linux_x86_64'}
    assert setup_env.some_wheel_cached(tmp_path / 'cache', python, pins)
    assert not setup_env.some_wheel_cached(tmp_path / 'cache', dict(python, tag='cp312'), pins)
    pins['mmcv'] += '1'
    assert not setup_env.some_wheel_cached(tmp_path / 'cache', python, pins)


@pytest.mark.parametrize('damage', ['bare', 'cut short', 'empty'])
def test_broken_or_bare_wheel_leaves_the_cache(tmp_path, damage):
    wheel = make_wheel(
        tmp_path / 'mmcv-2.1.0-py3-none-any.whl',
        ['mmcv/__init__.py'] if damage == 'bare' else ['mmcv/_ext.so', 'mmcv/ops.py'],
    )
    if damage != 'bare':
        content = wheel.read_bytes()
        wheel.write_bytes(content[: len(content) // 2] if damage == 'cut short' else b'')
    assert setup_env.cached_wheel(tmp_path) is None
    assert not wheel.exists()


def test_failed_store_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError):
        setup_env.store_wheel(tmp_path / 'mmcv-none.whl', tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []


# ------------------------------------------------------------------------------ what is missing
def test_nothing_missing_where_all_is_there():
    assert (
        setup_env.missing_build_tools(
            '/inc', '3.11', {}, lambda name: name, lambda path: path == '/inc/Python.h'
        )
        == []
    )


def test_missing_compiler_and_headers_are_named_with_their_packages():
    cxx, cc, headers = setup_env.missing_build_tools(
        '/inc', '3.11', {'CC': 'ccache clang'}, lambda name: None, lambda path: False
    )
    assert 'C++ compiler (c++)' in cxx and 'build-essential' in cxx
    assert 'C compiler (ccache)' in cc
    assert '/inc/Python.h' in headers and 'python3.11-dev' in headers


def test_missing_headers_alone():
    messages = setup_env.missing_build_tools(
        '/inc', '3.12', {}, lambda name: name, lambda path: False
    )
    assert len(messages) == 1 and 'python3.12-dev' in messages[0]


def test_full_disk_is_told_with_need_and_place(tmp_path):
    def usage(path):
        assert path == str(tmp_path)  # the nearest folder that exists
        return Usage(0, 0, 1.25 * setup_env.GB)

    place = tmp_path / 'not' / 'yet'
    with pytest.raises(setup_env.SetupError, match=r'torch needs about 3 GB.*has 1\.2 GB free'):
        setup_env.check_disk(place, 3, 'torch', usage)
    assert setup_env.check_disk(place, 1, 'torch', usage) == 1.25


def test_missing_system_library_of_opencv_is_named(monkeypatch):
    def load(name):
        if name == 'libGL.so.1':
            raise OSError(name)

    monkeypatch.setattr(setup_env.sys, 'platform', 'linux')
    with pytest.raises(setup_env.SetupError, match='libGL.so.1 .* apt install libgl1'):
        setup_env.check_shared_libraries(load)
    setup_env.check_shared_libraries(lambda name: None)


# ------------------------------------------------------------------------------ interpreter
def interpreters(**versions):
    def probe(name):
        version = versions.get(Path(name).name.replace('.', '_'))
        return version and {
            'executable': name,
            'version': list(version),
            'short': '{}.{}'.format(*version),
            'has_venv': version[2] != 0,
        }

    return probe


def test_tested_python_comes_first(monkeypatch):
    monkeypatch.setattr(setup_env.sys, 'executable', '/usr/bin/python3')
    found = interpreters(python3=(3, 12, 4), python3_11=(3, 11, 2))
    assert setup_env.choose_python(None, found)['short'] == '3.11'
    assert setup_env.choose_python('python3', found)['short'] == '3.12'
    assert (
        setup_env.choose_python(None, interpreters(python3=(3, 13, 1), python3_12=(3, 12, 1)))[
            'short'
        ]
        == '3.12'
    )


def test_wrong_pythons_are_listed(monkeypatch):
    monkeypatch.setattr(setup_env.sys, 'executable', '/usr/bin/python3')
    with pytest.raises(setup_env.SetupError, match=r'3\.11 is missing .*python3 is 3\.8\.18'):
        setup_env.choose_python(None, interpreters(python3=(3, 8, 18)))
    with pytest.raises(setup_env.SetupError, match='nowhere does not run'):
        setup_env.choose_python('nowhere', interpreters())


def test_missing_venv_module_is_named():
    with pytest.raises(setup_env.SetupError, match=r'apt install python3\.11-venv'):
        setup_env.choose_python('python3.11', interpreters(python3_11=(3, 11, 0)))


def test_probe_of_this_interpreter_and_of_none(tmp_path):
    python = setup_env.probe(sys.executable)
    assert python['version'] == list(sys.version_info[:3])
    assert python['torch'].startswith('2.') and {'mmcv', 'onedl-mmcv'} & set(python['dists'])
    assert python['tag'] == f'cp{sys.version_info[0]}{sys.version_info[1]}'
    assert setup_env.probe(tmp_path / 'python') is None


# ------------------------------------------------------------------------------ compiling mmcv
def test_cpu_build_hides_the_gpu_and_forces_the_ops(tmp_path):
    environ = setup_env.build_environment({'PATH': '/bin'}, '/v/bin', tmp_path, None, None)
    assert environ['MMCV_WITH_OPS'] == '1' and environ['CFLAGS'] == '-O2 -g0 -w'
    assert environ['FORCE_CUDA'] == '0' and environ['CUDA_VISIBLE_DEVICES'] == ''
    assert environ['PATH'] == os.pathsep.join(['/v/bin', '/bin'])
    assert 1 <= int(environ['MAX_JOBS']) <= os.cpu_count()


def test_cuda_build_names_toolkit_and_architectures(tmp_path):
    environ = setup_env.build_environment({'MAX_JOBS': '7'}, '/v/bin', tmp_path, '/cuda', '9.0')
    assert environ['FORCE_CUDA'] == '1' and environ['CUDA_HOME'] == '/cuda'
    assert environ['TORCH_CUDA_ARCH_LIST'] == '9.0' and environ['MAX_JOBS'] == '7'
    assert 'CUDA_VISIBLE_DEVICES' not in environ
    assert 'TORCH_CUDA_ARCH_LIST' not in setup_env.build_environment(
        {}, '/v/bin', tmp_path, '/cuda', 'all'
    )


def test_cuda_home_needs_compiler_and_headers():
    toolkit = {
        '/usr/local/cuda/bin/nvcc',
        '/usr/local/cuda/include/cuda_runtime.h',
        '/opt/wrapper/bin/nvcc',
    }
    find = setup_env.find_cuda_home
    assert find({}, lambda _: '/opt/wrapper/bin/nvcc', toolkit.__contains__) == '/usr/local/cuda'
    assert find({}, lambda _: None, toolkit.__contains__) == '/usr/local/cuda'
    assert find({}, lambda _: None, lambda _: False) is None
    assert find({'CUDA_HOME': '/opt/wrapper'}, lambda _: None, toolkit.__contains__) is None


def test_compiled_ops_are_recognised(tmp_path):
    from mmcv.ops import get_compiling_cuda_version

    assert setup_env.ops_of(sys.executable) == get_compiling_cuda_version()
    assert setup_env.ops_of('/bin/false') is None


def test_failed_command_shows_its_end_and_the_log(tmp_path):
    log = tmp_path / 'log'
    script = 'for i in range(100): print("line", i)\nraise SystemExit(3)'
    with pytest.raises(setup_env.SetupError) as error:
        setup_env.run_logged([sys.executable, '-c', script], log, 'the build')
    text = str(error.value)
    assert 'the build failed (exit status 3)' in text and str(log) in text
    assert 'line 99' in text and 'line 50\n' not in text
    assert 'line 50\n' in log.read_text()


def test_broken_off_command_ends_with_its_children(tmp_path, monkeypatch):
    child = tmp_path / 'child'
    script = (
        'import pathlib, subprocess, sys; '
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]); '
        f'pathlib.Path({str(child)!r}).write_text(str(child.pid)); child.wait()'
    )

    def progress():
        if child.exists() and child.read_text():
            raise KeyboardInterrupt
        return 'starting'

    monkeypatch.setattr(setup_env, 'HEARTBEAT_S', 0.05)
    with pytest.raises(KeyboardInterrupt):
        setup_env.run_logged(
            [sys.executable, '-c', script], tmp_path / 'log', 'compiling', progress=progress
        )
    for _ in range(100):
        try:
            state = Path(f'/proc/{child.read_text()}/stat').read_text().split()[2]
        except OSError:
            return
        if state == 'Z':
            return
        time.sleep(0.05)
    pytest.fail('the child lives on')


def test_long_command_shows_its_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, 'HEARTBEAT_S', 0.05)
    setup_env.run_logged(
        [sys.executable, '-c', 'import time; time.sleep(0.4)'],
        tmp_path / 'log',
        'compiling',
        progress=lambda: '3 of 9 files',
    )
    assert re.search(r'\.\.\. compiling: \d s, 3 of 9 files', capsys.readouterr().out)


# ------------------------------------------------------------------------------ the stamp
def test_stamp_is_current_until_anything_changes(tmp_path):
    torch = tmp_path / 'torch-2.13.0.dist-info'
    torch.mkdir()
    assert not setup_env.stamp_is_current(tmp_path, 'a')
    setup_env.write_stamp(tmp_path, 'a', [torch])
    assert setup_env.stamp_is_current(tmp_path, 'a')
    assert not setup_env.stamp_is_current(tmp_path, 'b')
    torch.rename(tmp_path / 'torch-2.14.0.dist-info')
    assert not setup_env.stamp_is_current(tmp_path, 'a')


def test_damaged_stamp_does_not_count(tmp_path):
    (tmp_path / setup_env.STAMP).write_text('{"finger')
    assert not setup_env.stamp_is_current(tmp_path, 'a')


def test_fingerprint_follows_the_pins_and_the_place(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'requirements.txt').write_text('torch==2.13.0')
    before = setup_env.fingerprint(tmp_path / 'one')
    assert before == setup_env.fingerprint(tmp_path / 'one')
    assert before != setup_env.fingerprint(tmp_path / 'two')
    (tmp_path / 'one' / 'requirements.txt').write_text('torch==2.14.0')
    assert before != setup_env.fingerprint(tmp_path / 'one')

    place = tmp_path / 'two'
    usual, new = setup_env.fingerprint(place), setup_env.fingerprint(place, 'new')
    (place / 'requirements-new.txt').write_text('torch==2.14.0')
    assert setup_env.fingerprint(place) == usual
    assert setup_env.fingerprint(place, 'new') not in (usual, new)


def test_finished_setup_does_nothing(tmp_path, monkeypatch, capsys):
    setup_env.write_stamp(tmp_path, setup_env.fingerprint(REPO), [])
    monkeypatch.setattr(setup_env, 'set_up', pytest.fail)
    assert setup_env.main(['--venv', str(tmp_path)]) == 0
    assert capsys.readouterr().out == ''


def test_environment_that_is_no_environment_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.tempfile, 'tempdir', str(tmp_path))
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'precious').touch()
    assert setup_env.main(['--venv', str(home)]) == 1
    assert 'no bin/python that runs' in capsys.readouterr().out
    assert [path.name for path in home.iterdir()] == ['precious']


def test_lock_is_waited_for(tmp_path, monkeypatch):
    lock = tmp_path / 'lock'
    script = (
        f'import fcntl, sys; file = open({str(lock)!r}, "w"); fcntl.flock(file, 2); '
        'print("held", flush=True); sys.stdin.read()'
    )
    said = []

    def say(text):
        said.append(text)
        holder.stdin.close()  # lets the holder go

    monkeypatch.setattr(setup_env, 'say', say)
    with subprocess.Popen(
        [sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b'held\n'
        with setup_env.locked(lock, 'waiting for the other'):
            assert holder.wait() == 0
    assert said == ['waiting for the other']
