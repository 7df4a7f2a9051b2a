"""Compile mmcv with its operators into an environment that has torch, setuptools and ninja.

    python tools/compile_mmcv.py --python .venv/bin/python mmcv==2.1.0

For the CPU, and for the GPU where torch has CUDA and its compiler is there. The wheel is kept in
the user's cache, by Python, torch, mmcv and GPU, so that each is compiled once. Standard library
only; `make setup MMCV=full` calls it.
"""

import argparse
import contextlib
import fcntl
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HEARTBEAT_S = 15
TAIL_LINES = 30
COMPILER_BYTES = 1.5 * 1024**3


class SetupError(Exception):
    """What is missing, and how to get it."""


def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def locked(path, waiting):
    """Hold the lock file ``path``; says ``waiting`` if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------- the environment
def output_of(python, code):
    """What code prints under an interpreter, from nowhere; None if it fails."""
    command = [str(python), '-I', '-c', code]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


# Without mmcv itself, which imports what may not be there yet.
OPERATORS = """
import glob, importlib.machinery, importlib.util, os, torch
folder = os.path.dirname(importlib.util.find_spec('mmcv').origin)
path, = glob.glob(os.path.join(folder, '_ext*.so'))
loader = importlib.machinery.ExtensionFileLoader('mmcv._ext', path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader('mmcv._ext', loader))
loader.exec_module(module)
print(module.get_compiling_cuda_version())
"""


def operators_of(python):
    """CUDA version of the operators of mmcv, 'not available' if for the CPU; None without."""
    output = output_of(python, OPERATORS)
    return output.split('\n')[0] if output else None


PROBE = """
import json, re, sys, sysconfig, torch
paths = sysconfig.get_paths()
capabilities = map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))
print(json.dumps(dict(
    short='%d.%d' % sys.version_info[:2], tag='cp%d%d' % sys.version_info[:2],
    platform=re.sub('[^0-9a-zA-Z]', '_', sysconfig.get_platform()),
    include=paths['include'], site=paths['platlib'], scripts=paths['scripts'],
    torch=torch.__version__, cuda=torch.version.cuda,
    gpus=';'.join(sorted({'%d.%d' % capability for capability in capabilities})))))
"""


def probe(python):
    """What there is to compile for, as a dict."""
    output = output_of(python, PROBE)
    if output is None:
        raise SetupError(f'{python} does not run, or has no torch; mmcv is compiled against it')
    return json.loads(output)


# --------------------------------------------------------------------------- what must be there
def missing_build_tools(include_dir, version, environ, which=shutil.which, exists=os.path.exists):
    """Messages about what compiling mmcv lacks.

    Args:
        include_dir (str): The interpreter's folder of headers.
        version (str): Its version, as in ``'3.11'``.
        environ (dict): The environment; ``CC`` and ``CXX`` name compilers.
        which, exists (callable): Probes, replaced in tests.
    """
    missing = []
    for variable, names, language in (('CXX', ('c++',), 'C++'), ('CC', ('cc', 'gcc'), 'C')):
        if environ.get(variable):
            names = (shlex.split(environ[variable])[0],)
        if not any(which(name) for name in names):
            missing.append(
                'a {} compiler ({}): apt install build-essential'.format(
                    language, ' or '.join(names)
                )
            )
    header = os.path.join(include_dir, 'Python.h')
    if not exists(header):
        missing.append(
            f'the headers of Python {version} ({header}): apt install python{version}-dev'
        )
    return missing


def find_cuda_home(environ, which=shutil.which, exists=os.path.exists):
    """Folder of a CUDA toolkit that can compile, or None. CUDA_HOME is the last word."""
    if environ.get('CUDA_HOME'):
        homes = [environ['CUDA_HOME']]
    else:
        nvcc = which('nvcc')
        homes = [os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))] if nvcc else []
        homes.append('/usr/local/cuda')
    for home in homes:  # an nvcc on the PATH may be a wrapper, far from the headers
        if all(
            exists(os.path.join(home, *part))
            for part in (('bin', 'nvcc'), ('include', 'cuda_runtime.h'))
        ):
            return home
    return None


def gpu_architectures(python, cuda_home, environ):
    """What to compile mmcv's CUDA operators for, as in ``'8.0;9.0'``, or 'all'."""
    nvcc = os.path.join(cuda_home, 'bin', 'nvcc')
    said = subprocess.run([nvcc, '--version'], capture_output=True, text=True, check=True).stdout
    release = re.search(r'release (\d+)\.', said)
    if release and release.group(1) != python['cuda'].split('.')[0]:
        raise SetupError(
            'torch {torch} wants the compiler of CUDA {cuda}, and {0} is of CUDA {1}: set '
            'CUDA_HOME to the right one, or to nothing that exists to have mmcv for the CPU '
            'alone'.format(nvcc, release.group(1), **python)
        )
    return environ.get('TORCH_CUDA_ARCH_LIST') or python['gpus'] or 'all'


# --------------------------------------------------------------------------- the cache of wheels
def cache_dir(environ):
    base = environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return Path(base) / 'mmdet_lla' / 'wheels'


def wheel_key(tag, platform, torch, mmcv, gpu=None):
    """Name of the cache folder of a compiled mmcv.

    Args:
        tag (str): Python, as in ``'cp311'``.
        platform (str): As in ``'linux_x86_64'``.
        torch (str): Version with its build, as in ``'2.13.0+cu130'``.
        mmcv (str): Its pin, as in ``'mmcv==2.1.0'`` or, of the fork, ``'onedl-mmcv==2.3.6'``.
        gpu (str | None): GPU architectures compiled for; None if for the CPU alone.
    """
    key = '{}-{}-torch{}-{}-{}'.format(
        tag, platform, torch, mmcv.replace('==', ''), 'cuda' + gpu if gpu else 'cpuops'
    )
    return re.sub(r'[^\w.+-]+', '_', key)


def has_ops(wheel):
    """Whether a wheel is whole and holds mmcv's compiled operators (a bare one does not)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.testzip() is None and any(
                re.match(r'mmcv/_ext.*\.(so|pyd)$', name) for name in archive.namelist()
            )
    except (OSError, zipfile.BadZipFile):
        return False


def cached_wheel(folder):
    """The usable wheel of a cache folder, or None; broken ones go."""
    for wheel in sorted(folder.glob('*mmcv-*.whl')):
        if has_ops(wheel):
            return wheel
        wheel.unlink()
    return None


def writable(folder):
    """Whether the folder is or can be made, and written in."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def store_wheel(wheel, folder):
    """Put a wheel into the cache, whole or not at all; returns its place there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix='.part')
    os.close(handle)
    try:
        shutil.copyfile(wheel, temporary)
        os.replace(temporary, folder / wheel.name)
    except OSError:
        os.unlink(temporary)
        raise
    return folder / wheel.name


# --------------------------------------------------------------------------- compiling
def jobs(environ):
    """Compilers to run side by side: one a core, and 1.5 GB of memory for each."""
    if environ.get('MAX_JOBS'):
        return environ['MAX_JOBS']
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return str(max(1, min(cores or 1, int(memory / COMPILER_BYTES))))


def build_environment(environ, scripts, work, cuda_home, gpu):
    """Environment variables for compiling mmcv: all its operators, no debug information."""
    result = dict(
        environ,
        MMCV_WITH_OPS='1',
        CFLAGS='-O2 -g0 -w',
        CXXFLAGS='-O2 -g0 -w',
        MAX_JOBS=jobs(environ),
        TMPDIR=str(work),
        PATH=str(scripts) + os.pathsep + environ.get('PATH', ''),
    )
    if gpu:
        result.update(FORCE_CUDA='1', CUDA_HOME=cuda_home)
        if gpu != 'all':
            result['TORCH_CUDA_ARCH_LIST'] = gpu
    else:
        # mmcv's setup.py takes a GPU in sight for a reason to call nvcc.
        result.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    return result


def run_logged(command, log, what, environ=None, progress=None):
    """Run ``command`` into the log, with a sign of life every 15 seconds.

    Raises:
        SetupError: It failed; with the end of its output and the log's place.
    """
    with open(log, 'wb') as file:
        start = time.time()
        # A session of its own, so that its compilers can be ended with it.
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    done = f', {progress()}' if progress else ''
                    say(f'  ... {what}: {time.time() - start:.0f} s{done}')
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    if status:
        tail = Path(log).read_text(errors='replace').splitlines()[-TAIL_LINES:]
        raise SetupError(
            '{} failed (exit status {}). The end of its output:\n{}\nAll of it: {}'.format(
                what, status, '\n'.join('  | ' + line for line in tail), log
            )
        )


def build_wheel(interpreter, python, pin, work, cuda_home, gpu):
    """Compile, with a word about how far it is; returns the wheel."""
    missing = missing_build_tools(python['include'], python['short'], os.environ)
    if missing:
        raise SetupError(
            'mmcv has to be compiled, and this is missing:\n  - '
            + '\n  - '.join(missing)
            + '\n(the packages are named as on Debian and Ubuntu)'
        )
    environ = build_environment(os.environ, python['scripts'], work, cuda_home, gpu)
    if gpu and not os.path.exists(os.path.join(cuda_home, 'include', 'cusparse.h')):
        # A toolkit without its libraries' headers: torch brought the same as packages.
        headers = glob.glob(os.path.join(python['site'], 'nvidia', '*', 'include'))
        environ['CPATH'] = os.pathsep.join(headers + [environ.get('CPATH', '')])

    def progress():
        objects = sum(1 for _ in work.rglob('*.o'))
        for ninja in work.rglob('build.ninja'):
            total = len(re.findall(r'^build .*\.o: ', ninja.read_text(errors='replace'), re.M))
            return f'{objects} of {total} files'
        return 'preparing'

    usually = '20 min or more with CUDA' if gpu else '6 to 8 min on 2 cores, less on more'
    say(f'* compiling {pin} for torch {python["torch"]}, usually {usually}')
    # No wheel of anybody's: an index or pip's cache may hold one without the operators.
    name, folder = pin.split('==')[0], work / 'wheel'
    options = '--no-deps --no-build-isolation --no-cache-dir --no-binary'.split()
    command = [interpreter, '-m', 'pip', 'wheel', *options, name, '--wheel-dir', str(folder), pin]
    log = Path(tempfile.gettempdir()) / f'mmdet_lla-{name}-{os.getuid()}.log'
    run_logged(command, log, 'compiling mmcv', environ, progress)
    wheel = next(folder.glob('*mmcv-*.whl'))
    if not has_ops(wheel):
        raise SetupError(f'mmcv was built without its operators; see {log}')
    return wheel


def install(interpreter, pin):
    """Bring the operators of a mmcv into an environment, compiled now or before.

    Args:
        interpreter (str): The environment's.
        pin (str): As in ``'mmcv==2.1.0'``.
    """
    python = probe(interpreter)
    cuda_home = find_cuda_home(os.environ) if python['cuda'] else None
    gpu = gpu_architectures(python, cuda_home, os.environ) if cuda_home else None
    if python['cuda'] and not cuda_home:
        say(
            f'! torch has CUDA {python["cuda"]} but its compiler (nvcc) is missing: mmcv gets no '
            'operators for GPUs, enough for the CPU'
        )
    key = wheel_key(python['tag'], python['platform'], python['torch'], pin, gpu)
    with tempfile.TemporaryDirectory(prefix='mmdet_lla-') as work:
        folder = cache_dir(os.environ) / key
        if not writable(folder):
            say(f'! {folder} cannot be written: the next environment compiles mmcv anew')
            folder = Path(work) / 'cache'
        waiting = '  another set-up is compiling the same mmcv; waiting for it'
        with locked(folder.with_name(key + '.lock'), waiting):
            wheel = cached_wheel(folder)
            if wheel:
                say(f'* compiled before: {wheel}')
            else:
                built = build_wheel(interpreter, python, pin, Path(work), cuda_home, gpu)
                wheel = store_wheel(built, folder)
        options = '--no-deps --force-reinstall --no-index'.split()
        subprocess.run([interpreter, '-m', 'pip', 'install', *options, str(wheel)], check=True)
    if operators_of(interpreter) is None:
        raise SetupError(f'the operators of {wheel} do not load with torch {python["torch"]}')


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--python', default=sys.executable, help='interpreter of the environment')
    parser.add_argument('pin', nargs='?', default='mmcv==2.1.0', help='default: %(default)s')
    options = parser.parse_args(arguments)
    try:
        install(options.python, options.pin)
    except SetupError as error:
        say(f'\nStopped: {error}')
        return 1
    except KeyboardInterrupt:
        say('\nBroken off.')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
