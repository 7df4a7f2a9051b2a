"""Compiling mmcv: what it needs, where it is kept, and how it is told; nothing is compiled here."""

import os
import re
import sys
import time
import zipfile
from pathlib import Path

import pytest


def make_wheel(path, names=('mmcv/__init__.py', 'mmcv/_ext.cpython-311-x86_64-linux-gnu.so')):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, 'x' * 100)
    return path


# ------------------------------------------------------------------------------ wheel cache
BASE = dict(tag='cp311', platform='linux_x86_64', torch='2.13.0+cpu', mmcv='mmcv==2.1.0')


def test_wheel_key_names_what_the_wheel_depends_on(compile_mmcv):
    assert compile_mmcv.wheel_key(**BASE) == 'cp311-linux_x86_64-torch2.13.0+cpu-mmcv2.1.0-cpuops'
    assert compile_mmcv.wheel_key(**BASE, gpu='8.0;9.0').endswith('-cuda8.0_9.0')
    assert (
        compile_mmcv.wheel_key(**{**BASE, 'mmcv': 'onedl-mmcv==2.3.6'})
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
def test_wheel_key_differs_with_each_part(compile_mmcv, change):
    assert compile_mmcv.wheel_key(**{**BASE, **change}) != compile_mmcv.wheel_key(**BASE)


def test_cache_folder_follows_xdg(compile_mmcv):
    assert compile_mmcv.cache_dir({'XDG_CACHE_HOME': '/cache'}) == Path('/cache/mmdet_lla/wheels')
    assert compile_mmcv.cache_dir({}) == Path.home() / '.cache' / 'mmdet_lla' / 'wheels'


@pytest.mark.parametrize('mmcv', ['mmcv==2.1.0', 'onedl-mmcv==2.3.6'])
def test_stored_wheel_is_found_again(compile_mmcv, tmp_path, mmcv):
    name = mmcv.replace('==', '-').replace('onedl-', 'onedl_')
    wheel = make_wheel(tmp_path / 'built' / f'{name}-cp311-cp311-linux_x86_64.whl')
    folder = tmp_path / 'cache' / compile_mmcv.wheel_key(**{**BASE, 'mmcv': mmcv})
    assert compile_mmcv.cached_wheel(folder) is None
    stored = compile_mmcv.store_wheel(wheel, folder)
    assert compile_mmcv.cached_wheel(folder) == stored
    assert stored.read_bytes() == wheel.read_bytes()
    assert [path.name for path in folder.iterdir()] == [wheel.name]


@pytest.mark.parametrize('damage', ['bare', 'cut short', 'empty'])
def test_broken_or_bare_wheel_leaves_the_cache(compile_mmcv, tmp_path, damage):
    wheel = make_wheel(
        tmp_path / 'mmcv-2.1.0-py3-none-any.whl',
        ['mmcv/__init__.py'] if damage == 'bare' else ['mmcv/_ext.so', 'mmcv/ops.py'],
    )
    if damage != 'bare':
        content = wheel.read_bytes()
        wheel.write_bytes(content[: len(content) // 2] if damage == 'cut short' else b'')
    assert compile_mmcv.cached_wheel(tmp_path) is None
    assert not wheel.exists()


def test_failed_store_leaves_nothing_behind(compile_mmcv, tmp_path):
    with pytest.raises(FileNotFoundError):
        compile_mmcv.store_wheel(tmp_path / 'mmcv-none.whl', tmp_path / 'cache')
    assert list((tmp_path / 'cache').iterdir()) == []


# ------------------------------------------------------------------------------ what is missing
def test_nothing_missing_where_all_is_there(compile_mmcv):
    assert (
        compile_mmcv.missing_build_tools(
            '/inc', '3.11', {}, lambda name: name, lambda path: path == '/inc/Python.h'
        )
        == []
    )


def test_missing_compiler_and_headers_are_named_with_their_packages(compile_mmcv):
    cxx, cc, headers = compile_mmcv.missing_build_tools(
        '/inc', '3.11', {'CC': 'ccache clang'}, lambda name: None, lambda path: False
    )
    assert 'C++ compiler (c++)' in cxx and 'build-essential' in cxx
    assert 'C compiler (ccache)' in cc
    assert '/inc/Python.h' in headers and 'python3.11-dev' in headers


def test_missing_headers_alone(compile_mmcv):
    messages = compile_mmcv.missing_build_tools(
        '/inc', '3.12', {}, lambda name: name, lambda path: False
    )
    assert len(messages) == 1 and 'python3.12-dev' in messages[0]


# ------------------------------------------------------------------------------ compiling
def test_cpu_build_hides_the_gpu_and_forces_the_ops(compile_mmcv, tmp_path):
    environ = compile_mmcv.build_environment({'PATH': '/bin'}, '/v/bin', tmp_path, None, None)
    assert environ['MMCV_WITH_OPS'] == '1' and environ['CFLAGS'] == '-O2 -g0 -w'
    assert environ['FORCE_CUDA'] == '0' and environ['CUDA_VISIBLE_DEVICES'] == ''
    assert environ['PATH'] == os.pathsep.join(['/v/bin', '/bin'])
    assert 1 <= int(environ['MAX_JOBS']) <= os.cpu_count()


def test_cuda_build_names_toolkit_and_architectures(compile_mmcv, tmp_path):
    environ = compile_mmcv.build_environment({'MAX_JOBS': '7'}, '/v/bin', tmp_path, '/cuda', '9.0')
    assert environ['FORCE_CUDA'] == '1' and environ['CUDA_HOME'] == '/cuda'
    assert environ['TORCH_CUDA_ARCH_LIST'] == '9.0' and environ['MAX_JOBS'] == '7'
    assert 'CUDA_VISIBLE_DEVICES' not in environ
    assert 'TORCH_CUDA_ARCH_LIST' not in compile_mmcv.build_environment(
        {}, '/v/bin', tmp_path, '/cuda', 'all'
    )


def test_cuda_home_needs_compiler_and_headers(compile_mmcv):
    toolkit = {
        '/usr/local/cuda/bin/nvcc',
        '/usr/local/cuda/include/cuda_runtime.h',
        '/opt/wrapper/bin/nvcc',
    }
    find = compile_mmcv.find_cuda_home
    assert find({}, lambda _: '/opt/wrapper/bin/nvcc', toolkit.__contains__) == '/usr/local/cuda'
    assert find({}, lambda _: None, toolkit.__contains__) == '/usr/local/cuda'
    assert find({}, lambda _: None, lambda _: False) is None
    assert find({'CUDA_HOME': '/opt/wrapper'}, lambda _: None, toolkit.__contains__) is None


def test_compiled_operators_are_recognised(compile_mmcv):
    import mmcv._ext

    compiled = mmcv._ext.__file__.endswith('.so')
    expected = mmcv._ext.get_compiling_cuda_version() if compiled else None
    assert compile_mmcv.operators_of(sys.executable) == expected
    assert compile_mmcv.operators_of('/bin/false') is None


def test_probe_of_this_interpreter_and_of_none(compile_mmcv, tmp_path):
    python = compile_mmcv.probe(sys.executable)
    assert python['tag'] == f'cp{sys.version_info[0]}{sys.version_info[1]}'
    assert python['torch'].startswith('2.')
    with pytest.raises(compile_mmcv.SetupError, match='does not run, or has no torch'):
        compile_mmcv.probe(tmp_path / 'python')


def test_compiled_before_is_installed_without_a_compiler(compile_mmcv, tmp_path, monkeypatch):
    """From the cache; and what does not load after that is told."""
    python = dict(BASE, short='3.11', cuda=None)
    wheel = make_wheel(
        tmp_path / 'mmdet_lla' / 'wheels' / compile_mmcv.wheel_key(**BASE) / 'mmcv-2.1.0-x.whl'
    )
    commands = []
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(compile_mmcv, 'probe', lambda interpreter: python)
    monkeypatch.setattr(compile_mmcv, 'build_wheel', pytest.fail)
    monkeypatch.setattr(compile_mmcv.subprocess, 'run', lambda *args, **_: commands.append(args[0]))
    monkeypatch.setattr(compile_mmcv, 'operators_of', lambda interpreter: 'not available')
    compile_mmcv.install('/v/bin/python', 'mmcv==2.1.0')
    (command,) = commands
    assert command[:4] == ['/v/bin/python', '-m', 'pip', 'install'] and command[-1] == str(wheel)
    monkeypatch.setattr(compile_mmcv, 'operators_of', lambda interpreter: None)
    with pytest.raises(compile_mmcv.SetupError, match='do not load with torch 2.13.0'):
        compile_mmcv.install('/v/bin/python', 'mmcv==2.1.0')


def test_missing_tools_stop_before_anything_is_compiled(compile_mmcv, tmp_path, monkeypatch):
    python = dict(BASE, short='3.11', include=str(tmp_path), scripts='/v/bin')
    monkeypatch.setattr(compile_mmcv, 'run_logged', pytest.fail)
    with pytest.raises(
        compile_mmcv.SetupError, match=r'(?s)mmcv has to be compiled.*python3\.11-dev'
    ) as error:
        compile_mmcv.build_wheel('/v/bin/python', python, 'mmcv==2.1.0', tmp_path, None, None)
    assert str(tmp_path / 'Python.h') in str(error.value)


def test_failed_command_shows_its_end_and_the_log(compile_mmcv, tmp_path):
    log = tmp_path / 'log'
    script = 'for i in range(100): print("line", i)\nraise SystemExit(3)'
    with pytest.raises(compile_mmcv.SetupError) as error:
        compile_mmcv.run_logged([sys.executable, '-c', script], log, 'the build')
    text = str(error.value)
    assert 'the build failed (exit status 3)' in text and str(log) in text
    assert 'line 99' in text and 'line 50\n' not in text
    assert 'line 50\n' in log.read_text()


def test_broken_off_command_ends_with_its_children(compile_mmcv, tmp_path, monkeypatch):
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

    monkeypatch.setattr(compile_mmcv, 'HEARTBEAT_S', 0.05)
    with pytest.raises(KeyboardInterrupt):
        compile_mmcv.run_logged(
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


def test_long_command_shows_its_progress(compile_mmcv, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compile_mmcv, 'HEARTBEAT_S', 0.05)
    compile_mmcv.run_logged(
        [sys.executable, '-c', 'import time; time.sleep(0.4)'],
        tmp_path / 'log',
        'compiling',
        progress=lambda: '3 of 9 files',
    )
    assert re.search(r'\.\.\. compiling: \d s, 3 of 9 files', capsys.readouterr().out)
