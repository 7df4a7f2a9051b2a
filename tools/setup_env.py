"""Make the environment that `make demo` and `make test` run in.

Runs on a bare Python, before anything is installed: standard library only, and syntax that an
old interpreter can read well enough to be told that it is too old.

What is there already is kept: a finished set-up is recognised by a stamp in the environment,
any installed torch stays (CUDA or not), and a compiled mmcv goes into a cache of the user's, by
Python, torch, mmcv and GPU, so that it is compiled once.

A stack is a set of versions: requirements.txt, and for another than the usual one the few lines of
requirements-STACK.txt that replace or add to it.
"""

import argparse
import contextlib
import fcntl
import glob
import hashlib
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

REPO = Path(__file__).resolve().parents[1]
TESTED_PYTHON = (3, 11)
PINNED_PYTHONS = ((3, 11), (3, 12))  # numpy's pin asks for 3.11, mmcv 2.1's setup.py fails on 3.13
USABLE_PYTHONS = ((3, 9), (3, 12))  # oldest and newest, in an environment of the user's own
STAMP = '.mmdet-lla-setup.json'
LOG = 'mmdet-lla-setup.log'
MADE_HERE = '.made-by-mmdet-lla'
FINGERPRINTED = ('requirements.txt', 'setup.cfg', 'tools/setup_env.py')
#: Distributions of the maintained fork, and the one whose module each replaces.
FORK = {'onedl-mmengine': 'mmengine', 'onedl-mmcv': 'mmcv', 'onedl-mmdetection': 'mmdet'}
GB = 1024**3
DISK_FRESH_GB = 3.0  # torch for the CPU and all else; torch with CUDA takes about 6
DISK_CUDA_GB = 6.0
DISK_BUILD_GB = 1.0
HEARTBEAT_S = 15
TAIL_LINES = 30


class SetupError(Exception):
    """What is missing, and how to get it."""


# --------------------------------------------------------------------------- pins and stamp
def read_pins(text):
    """Requirements by lower-case name: ``{'torch': 'torch==2.13.0', ...}``.

    The fork's have the names of what they replace: ``{'mmcv': 'onedl-mmcv==2.3.6', ...}``.
    """
    pins = {}
    for line in text.splitlines():
        line = line.split('#')[0].strip()
        if line:
            name = re.split(r'[=<>!~ \[;]', line)[0].lower()
            pins[FORK.get(name, name)] = line
    return pins


def split_pin(pin):
    """``('torch', '2.13.0')`` of ``'torch==2.13.0'``."""
    name, version = pin.split('==')
    return name, version


def stack_file(stack):
    """Name of the file with the lines that a stack changes; None for the usual stack."""
    return f'requirements-{stack}.txt' if stack else None


def stack_pins(repo, stack=None):
    """Pins of a stack: those of requirements.txt, with its own lines instead or added."""
    pins = read_pins((repo / 'requirements.txt').read_text())
    if stack:
        path = repo / stack_file(stack)
        if not path.is_file():
            raise SetupError(
                'there is no stack {}: {} is missing. Stacks: {}'.format(
                    stack, path.name, ', '.join(stacks(repo))
                )
            )
        pins.update(read_pins(path.read_text()))
    return pins


def stacks(repo):
    """Names of all stacks but the usual one."""
    return sorted(
        re.match('requirements-(.*)[.]txt', path.name).group(1)
        for path in repo.glob('requirements-*.txt')
    )


def fingerprint(repo, stack=None):
    """Changes with everything that a set-up depends on, the checkout's place included."""
    digest = hashlib.sha256(str(repo).encode())
    for name in FINGERPRINTED + ((stack_file(stack),) if stack else ()):
        path = repo / name
        digest.update(name.encode() + b'\0' + (path.read_bytes() if path.exists() else b''))
    return digest.hexdigest()


def write_stamp(venv, mark, files):
    """Record a finished set-up and files whose loss would undo it."""
    text = json.dumps({'fingerprint': mark, 'files': [str(file) for file in files]}, indent=1)
    temporary = venv / (STAMP + '.new')
    temporary.write_text(text)
    os.replace(str(temporary), str(venv / STAMP))


def stamp_is_current(venv, mark):
    """Whether this very set-up was finished here and is still there."""
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return stamp.get('fingerprint') == mark and all(map(os.path.exists, stamp.get('files', [])))


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
    if not exists(os.path.join(include_dir, 'Python.h')):
        missing.append(
            'the headers of Python {0} ({1}): apt install python{0}-dev'.format(
                version, os.path.join(include_dir, 'Python.h')
            )
        )
    return missing


def check_build_tools(python, environ):
    missing = missing_build_tools(python['include'], python['short'], environ)
    if missing:
        raise SetupError(
            'mmcv has to be compiled, and this is missing:\n  - '
            + '\n  - '.join(missing)
            + '\n(the packages are named as on Debian and Ubuntu)'
        )


def check_disk(path, need_gb, purpose, disk_usage=shutil.disk_usage):
    """Free space in GB where ``path`` is or will be; an error if it is under ``need_gb``."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    free = disk_usage(str(path)).free / GB
    if free < need_gb:
        raise SetupError(
            f'not enough disk: {purpose} needs about {need_gb:.0f} GB, and {path} '
            f'has {free:.1f} GB free'
        )
    return free


def check_shared_libraries(load=None):
    """OpenCV's wheel leaves these to the system."""
    if not sys.platform.startswith('linux'):
        return
    if load is None:
        import ctypes

        load = ctypes.CDLL
    for library, package in (('libGL.so.1', 'libgl1'), ('libgthread-2.0.so.0', 'libglib2.0-0')):
        try:
            load(library)
        except OSError:
            raise SetupError(
                f'{library} is missing, which OpenCV needs: apt install {package} (as '
                'on Debian and Ubuntu)'
            ) from None


PROBE = r"""
import importlib.util, json, os, re, sys, sysconfig
from importlib import metadata
def has(name):
    return importlib.util.find_spec(name) is not None
torch, spec = {}, importlib.util.find_spec('torch')
if spec and spec.origin:
    with open(os.path.join(os.path.dirname(spec.origin), 'version.py')) as file:
        exec(file.read(), torch)
dists = {}
for dist in metadata.distributions():
    if dist.metadata['Name']:
        dists.setdefault(re.sub(r'[-_.]+', '-', dist.metadata['Name']).lower(), dist.version)
print(json.dumps(dict(
    executable=sys.executable, version=list(sys.version_info[:3]),
    short='%d.%d' % sys.version_info[:2], tag='cp%d%d' % sys.version_info[:2],
    platform=re.sub('[^0-9a-zA-Z]', '_', sysconfig.get_platform()),
    include=sysconfig.get_paths()['include'], site=sysconfig.get_paths()['platlib'],
    has_venv=has('venv') and has('ensurepip'), has_pip=has('pip'), dists=dists,
    torch=str(torch['__version__']) if '__version__' in torch else None,
    cuda=torch.get('cuda'))))
"""


def probe(python):
    """What an interpreter is and has, as a dict; None if it does not run."""
    try:
        output = subprocess.run(
            [str(python), '-I', '-c', PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout
        return json.loads(output.decode())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def choose_python(wanted, probe=probe):
    """The interpreter to make the environment with: the one asked for, else the tested one.

    Raises:
        SetupError: No fitting Python, or one without venv.
    """
    names = [wanted] if wanted else ['python3.11', sys.executable, 'python3.12']
    seen = []
    for name in names:
        python = probe(name)
        if python is None:
            continue
        if tuple(python['version'][:2]) in PINNED_PYTHONS:
            if not python['has_venv']:
                raise SetupError(
                    '{} lacks the venv module: apt install python{}-venv (as on '
                    'Debian and Ubuntu)'.format(name, python['short'])
                )
            return python
        seen.append('{} is {}'.format(name, '.'.join(map(str, python['version']))))
    raise SetupError(
        'Python 3.11 is missing ({}). Install it (Debian and Ubuntu: apt install python3.11 '
        'python3.11-venv python3.11-dev), or name one: make ... PYTHON=/path/to/python3.11'.format(
            '; '.join(seen) or '{} does not run'.format(' or '.join(names))
        )
    )


# --------------------------------------------------------------------------- OpenMMLab or its fork
def uses_fork(dists):
    """Whether an environment has any package of the fork."""
    return any(name in dists for name in FORK)


def check_one_family(dists, pins, place):
    """Both families install the same modules: the one that comes later overwrites the other.

    Args:
        dists (dict): What is installed, versions by name.
        pins (dict): What will be.
        place (Path): The environment, for the message.

    Raises:
        SetupError: Both are there, or would be.
    """
    for name, module in FORK.items():
        wanted = split_pin(pins[module])[0]
        other = name if wanted == module else module
        if other in dists:
            raise SetupError(
                '{0} has {1}, and {2} would overwrite its files, as both are the module {3}. '
                'Use another environment, or empty this one first: {0}/bin/python -m pip '
                'uninstall {4}'.format(
                    place,
                    other,
                    wanted,
                    module,
                    ' '.join(sorted(set(dists) & (set(FORK) | set(FORK.values())))),
                )
            )


# --------------------------------------------------------------------------- mmcv's wheels
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
        gpu (str | None): GPU architectures compiled for; None if the ops are the CPU's alone.
    """
    key = '{}-{}-torch{}-{}-{}'.format(
        tag, platform, torch, ''.join(split_pin(mmcv)), 'cuda' + gpu if gpu else 'cpuops'
    )
    return re.sub(r'[^\w.+-]+', '_', key)


def some_wheel_cached(cache, python, pins):
    """Whether mmcv need not be compiled, as far as one can tell before torch is there."""
    torch, mmcv = (''.join(split_pin(pins[name])) for name in ('torch', 'mmcv'))
    pattern = f'{python["tag"]}-{python["platform"]}-{torch}*-{mmcv}-*'
    return any(cached_wheel(folder) for folder in cache.glob(pattern))


def has_ops(wheel):
    """Whether a wheel is whole and holds mmcv's compiled ops (a bare one does not)."""
    try:
        with zipfile.ZipFile(str(wheel)) as archive:
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
    return os.access(str(folder), os.W_OK)


def store_wheel(wheel, folder):
    """Put a wheel into the cache, whole or not at all; returns its place there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=str(folder), suffix='.part')
    os.close(handle)
    try:
        shutil.copyfile(str(wheel), temporary)
        os.replace(temporary, str(folder / wheel.name))
    except OSError:
        os.unlink(temporary)
        raise
    return folder / wheel.name


@contextlib.contextmanager
def locked(path, waiting):
    """Hold the lock file ``path``; says ``waiting`` if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(str(path), 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------- running things
def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def step(what, usually):
    say(f'* {what} (usually {usually})')
    start = time.time()
    yield
    say(f'  done in {duration(time.time() - start)}')


def duration(seconds):
    if seconds < 100:
        return f'{seconds:.0f} s'
    return '{:.0f} min {:.0f} s'.format(*divmod(seconds, 60))


def run_logged(command, log, what, environ=None, progress=None):
    """Run ``command`` into the log, with a sign of life every 15 seconds.

    Raises:
        SetupError: It failed; with the end of its output and the log's place.
    """
    with open(str(log), 'ab') as file:
        file.write('\n$ {}\n'.format(' '.join(map(shlex.quote, command))).encode())
        file.flush()
        begin = file.tell()
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
                    done = progress() if progress else ''
                    say(
                        '  ... {}: {}{}'.format(
                            what, duration(time.time() - start), ', ' + done if done else ''
                        )
                    )
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    if status:
        with open(str(log), 'rb') as file:
            file.seek(begin)
            tail = file.read().decode(errors='replace').splitlines()[-TAIL_LINES:]
        raise SetupError(
            '{} failed (exit status {}). The end of its output:\n{}\nAll of it: {}'.format(
                what, status, '\n'.join('  | ' + line for line in tail), log
            )
        )


class Environment:
    """A Python environment that is being set up.

    Args:
        venv (Path): Its folder.
        own (bool): Made by us and held to the pins; one of the user's is only completed.
        pins (dict): See :func:`read_pins`.
    """

    def __init__(self, venv, own, pins):
        self.venv = venv
        self.own = own
        self.pins = pins
        self.log = venv / LOG
        self.python = venv / 'bin' / 'python'
        self.state = None

    def look(self):
        self.state = probe(self.python)
        if self.state is None:
            raise SetupError(
                f'{self.python} does not run; remove {self.venv} or name another '
                'environment: make ... VENV=PATH'
            )
        return self.state

    def pip(self, arguments, what, environ=None, progress=None):
        run_logged(
            [str(self.python), '-m', 'pip', '--disable-pip-version-check', '--no-input']
            + arguments,
            self.log,
            what,
            environ,
            progress,
        )

    # ----------------------------------------------------------------------- the steps
    def create(self, wanted):
        python = choose_python(wanted)
        free = check_disk(self.venv, DISK_FRESH_GB, 'the environment (torch and the rest)')
        if free < DISK_CUDA_GB:
            say(
                f'! {free:.1f} GB of disk are free: enough for a torch for the CPU; one with CUDA '
                f'takes about {DISK_CUDA_GB:.0f} GB'
            )
        if not some_wheel_cached(cache_dir(os.environ), python, self.pins):
            check_build_tools(python, os.environ)
        check_shared_libraries()
        with step('Python {} environment in {}'.format(python['short'], self.venv), '10 s'):
            self.venv.mkdir(parents=True, exist_ok=True)
            # --clear, since this is new or was broken off before it had pip.
            result = subprocess.run(
                [python['executable'], '-m', 'venv', '--clear', str(self.venv)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if result.returncode:
                raise SetupError(
                    'making {} failed:\n{}'.format(
                        self.venv, result.stdout.decode(errors='replace')
                    )
                )
            (self.venv / MADE_HERE).touch()

    def check_python(self):
        version = tuple(self.state['version'][:2])
        low, high = (PINNED_PYTHONS[0], PINNED_PYTHONS[-1]) if self.own else USABLE_PYTHONS
        if not low <= version <= high:
            raise SetupError(
                '{} has Python {}, and it has to be {}.{} to {}.{}'.format(
                    self.venv, self.state['short'], *(low + high)
                )
            )
        if version != TESTED_PYTHON:
            say('! Python {} is not tested; 3.11 is'.format(self.state['short']))
        if not self.state['has_pip']:
            raise SetupError(f'{self.venv} has no pip: run {self.python} -m ensurepip')

    def install_torch(self):
        torch = self.state['torch']
        build_tools = [self.pins[name] for name in ('setuptools', 'wheel', 'ninja')]
        if not self.own:
            build_tools = ['setuptools<81', 'wheel', 'ninja']
        if torch:
            say(f'* torch {torch} is there and stays')
        else:
            check_disk(self.venv, DISK_FRESH_GB, 'torch and the rest')
        with step(
            'build tools' if torch else '{}, build tools'.format(self.pins['torch']),
            '5 s' if torch else '1 min for a CPU build, 5 min with CUDA (3 GB to fetch)',
        ):
            self.pip(
                ['install'] + build_tools + ([] if torch else [self.pins['torch']]),
                'installing torch',
            )
        self.look()

    def gpu_architectures(self, cuda_home):
        """What to compile mmcv's CUDA ops for, as in ``'8.0;9.0'``."""
        nvcc = os.path.join(cuda_home, 'bin', 'nvcc')
        release = re.search(
            r'release (\d+)\.',
            subprocess.run([nvcc, '--version'], stdout=subprocess.PIPE, check=True).stdout.decode(),
        )
        if release and release.group(1) != self.state['cuda'].split('.')[0]:
            raise SetupError(
                'torch {} wants the compiler of CUDA {}, and {} is of CUDA {}: set '
                'CUDA_HOME to the right one, or to nothing that exists to have mmcv '
                'for the CPU alone'.format(
                    self.state['torch'], self.state['cuda'], nvcc, release.group(1)
                )
            )
        if os.environ.get('TORCH_CUDA_ARCH_LIST'):
            return os.environ['TORCH_CUDA_ARCH_LIST']
        found = (
            subprocess.run(
                [str(self.python), '-c', ARCHITECTURES],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            .stdout.decode()
            .strip()
        )
        return found or 'all'

    def mmcv_problem(self, gpu):
        """Why mmcv has to be installed, or None if it can stay."""
        name, wanted = split_pin(self.pins['mmcv'])
        version = self.state['dists'].get(name)
        if version is None:
            return 'mmcv-lite has no ops' if 'mmcv-lite' in self.state['dists'] else 'is missing'
        if self.own and version != wanted:
            return f'is {version}'
        cuda = ops_of(self.python)
        if cuda is None:
            return 'has no compiled ops that fit torch {}'.format(self.state['torch'])
        if gpu and cuda == 'not available':
            if self.own:
                return 'was compiled without CUDA'
            say('! the installed mmcv was compiled without CUDA and is left as it is')
        return None

    def install_mmcv(self):
        name, version = split_pin(self.pins['mmcv'])
        cuda_home = find_cuda_home(os.environ) if self.state['cuda'] else None
        gpu = self.gpu_architectures(cuda_home) if cuda_home else None
        if self.state['cuda'] and not cuda_home:
            say(
                '! torch has CUDA {} but its compiler (nvcc) is missing: mmcv gets no GPU ops, '
                'enough for the CPU'.format(self.state['cuda'])
            )
        problem = self.mmcv_problem(gpu)
        if problem is None:
            say(f'* {name} {self.state["dists"][name]} with its ops is there and stays')
            return
        say(f'* {name} {problem}')
        key = wheel_key(
            self.state['tag'], self.state['platform'], self.state['torch'], self.pins['mmcv'], gpu
        )
        with tempfile.TemporaryDirectory(prefix='mmdet_lla-') as work:
            folder = cache_dir(os.environ) / key
            if not writable(folder):
                say(f'! {folder} cannot be written: the next environment compiles mmcv anew')
                folder = Path(work) / 'cache'
            with locked(
                folder.with_name(key + '.lock'),
                '  another set-up is compiling the same mmcv; waiting for it',
            ):
                wheel = cached_wheel(folder)
                if wheel:
                    say(f'  compiled before: {wheel}')
                else:
                    wheel = store_wheel(self.build_mmcv(Path(work), cuda_home, gpu), folder)
            with step(f'{name} {version} from its wheel', '5 s'):
                self.pip(
                    ['install', '--no-deps', '--force-reinstall', '--no-index', str(wheel)],
                    'installing mmcv',
                )
        self.look()

    def build_mmcv(self, work, cuda_home, gpu):
        check_build_tools(self.state, os.environ)
        check_disk(work, DISK_BUILD_GB, 'compiling mmcv')
        environ = build_environment(os.environ, self.venv / 'bin', work, cuda_home, gpu)
        if gpu and not os.path.exists(os.path.join(cuda_home, 'include', 'cusparse.h')):
            # A toolkit without its libraries' headers: torch brought the same as packages.
            headers = glob.glob(os.path.join(self.state['site'], 'nvidia', '*', 'include'))
            environ['CPATH'] = os.pathsep.join(
                headers + [path for path in [environ.get('CPATH')] if path]
            )

        def progress():
            objects = sum(1 for _ in work.rglob('*.o'))
            for ninja in work.rglob('build.ninja'):
                total = len(re.findall(r'^build .*\.o: ', ninja.read_text(errors='replace'), re.M))
                return f'{objects} of {total} files'
            return 'preparing'

        name, version = split_pin(self.pins['mmcv'])
        usually = '20 min or more with CUDA' if gpu else '8 min on 2 cores, less on more'
        with step(
            'compiling {} {} for torch {}, {} at a time'.format(
                name, version, self.state['torch'], environ['MAX_JOBS']
            ),
            usually,
        ):
            # No wheel of anybody's: an index or pip's cache may hold one without the ops.
            self.pip(
                [
                    'wheel',
                    '--no-deps',
                    '--no-build-isolation',
                    '--no-cache-dir',
                    '--no-binary',
                    name,
                    '--wheel-dir',
                    str(work / 'wheel'),
                    self.pins['mmcv'],
                ],
                'compiling mmcv',
                environ,
                progress,
            )
        wheel = next((work / 'wheel').glob('*mmcv-*.whl'))
        if not has_ops(wheel):
            raise SetupError(f'mmcv was built without its ops; see {self.log}')
        return wheel

    def install_rest(self):
        if self.own:
            rest = [
                line
                for name, line in self.pins.items()
                if name not in ('torch', 'mmcv', 'setuptools', 'wheel', 'ninja')
            ]
            with step(f'{len(rest)} packages', '1 min'):
                self.pip(['install'] + rest, 'installing packages')
        with step(f'this package, linked to {REPO}', '5 s' if self.own else '1 min'):
            self.pip(
                ['install', '--no-build-isolation']
                + (
                    ['--no-deps', '--editable', str(REPO)]
                    if self.own
                    else ['--editable', f'{REPO}[{self.family()},tests,tensorboard]']
                ),
                'installing mmdet_lla',
            )
        self.look()

    def family(self):
        """Our extra that asks for the packages of this environment's OpenMMLab."""
        return 'openmmlab' if self.pins['mmcv'].startswith('mmcv') else 'onedl'

    def verify(self):
        script = (
            'import torch, mmdet; from mmcv.ops import nms; '
            'nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)'
        )
        with step("checking that torch, mmcv's ops and mmdet work together", '10 s'):
            run_logged([str(self.python), '-c', script], self.log, 'importing mmdet')

    def landmarks(self):
        """Files whose loss means that a package was removed or replaced."""
        site = Path(self.state['site'])
        names = {
            split_pin(self.pins[name])[0].replace('-', '_')
            for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'numpy', 'pytest', 'ruff')
        }
        found = [
            path
            for path in site.glob('*.dist-info')
            if path.name.split('-')[0].lower() in names | {'mmdet_lla'}
        ]
        return [self.python] + sorted(found)


ARCHITECTURES = r"""
import torch
capabilities = map(torch.cuda.get_device_capability, range(torch.cuda.device_count()))
print(';'.join(sorted({'%d.%d' % capability for capability in capabilities})))
"""

OPS = r"""
import glob, importlib.machinery, importlib.util, os, torch
folder = os.path.dirname(importlib.util.find_spec('mmcv').origin)
path, = glob.glob(os.path.join(folder, '_ext*.so'))
loader = importlib.machinery.ExtensionFileLoader('mmcv._ext', path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader('mmcv._ext', loader))
loader.exec_module(module)
print(module.get_compiling_cuda_version())
"""


def ops_of(python):
    """CUDA version of the installed mmcv's ops, 'not available' if for the CPU; None without."""
    result = subprocess.run(
        [str(python), '-I', '-c', OPS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return result.stdout.decode().split('\n')[0] if result.returncode == 0 else None


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


def jobs(environ):
    """Compilers to run side by side: one a core, and 1.5 GB of memory for each."""
    if environ.get('MAX_JOBS'):
        return environ['MAX_JOBS']
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return str(max(1, min(cores or 1, int(memory / (1.5 * GB)))))


def build_environment(environ, bin_dir, work, cuda_home, gpu):
    """Environment variables for compiling mmcv: all its ops, and no debug information."""
    result = dict(
        environ,
        MMCV_WITH_OPS='1',
        CFLAGS='-O2 -g0 -w',
        CXXFLAGS='-O2 -g0 -w',
        MAX_JOBS=jobs(environ),
        TMPDIR=str(work),
        PATH=str(bin_dir) + os.pathsep + environ.get('PATH', ''),
    )
    if gpu:
        result.update(FORCE_CUDA='1', CUDA_HOME=cuda_home)
        if gpu != 'all':
            result['TORCH_CUDA_ARCH_LIST'] = gpu
    else:
        # mmcv's setup.py takes a GPU in sight for a reason to call nvcc.
        result.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    return result


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', help='environment to use or make; default: .venv, or .venv-STACK')
    parser.add_argument('--python', help='interpreter to make it with')
    parser.add_argument(
        '--stack',
        default='',
        help='versions to install: the usual ones, or {}'.format(' or '.join(stacks(REPO))),
    )
    options = parser.parse_args(arguments)
    venv = options.venv or str(REPO / '-'.join(filter(None, ['.venv', options.stack])))
    venv = Path(os.path.abspath(os.path.expanduser(venv)))
    mark = fingerprint(REPO, options.stack)
    if stamp_is_current(venv, mark):
        return 0
    try:
        set_up(venv, options.python, mark, options.stack)
    except SetupError as error:
        say(f'\nSet-up stopped: {error}')
        return 1
    except KeyboardInterrupt:
        say('\nSet-up broken off; the next one goes on from here.')
        return 130
    return 0


def set_up(venv, wanted, mark, stack=''):
    start = time.time()
    pins = stack_pins(REPO, stack)
    name = hashlib.sha256(str(venv).encode()).hexdigest()[:16]
    lock = Path(tempfile.gettempdir()) / f'mmdet_lla-{os.getuid()}-{name}.lock'
    with locked(lock, f'another set-up of {venv} is running; waiting for it'):
        if stamp_is_current(venv, mark):
            return
        ours = venv == REPO / '.venv' or (venv / MADE_HERE).exists() or not venv.exists()
        environment = Environment(venv, ours, pins)
        say(f'Setting up {venv}: about 2 minutes, and 8 more where mmcv has to be compiled')
        state = probe(environment.python)
        if state and not ours and not stack and uses_fork(state['dists']):
            environment.pins = stack_pins(REPO, 'onedl')
        if state is None or (ours and not state['has_pip']):
            if not ours:
                raise SetupError(f'{venv} is there but holds no bin/python that runs')
            environment.create(wanted)
        environment.look()
        environment.check_python()
        check_one_family(environment.state['dists'], environment.pins, venv)
        environment.install_torch()
        environment.install_mmcv()
        environment.install_rest()
        environment.verify()
        write_stamp(venv, mark, environment.landmarks())
        say(f'Set up in {duration(time.time() - start)}. What pip said is in {environment.log}')


if __name__ == '__main__':
    sys.exit(main())
