"""Make the environment that `make` runs in, with the versions that are tested together.

Runs on a bare Python: standard library only. What pip can do is left to pip. An environment that
stands is kept, its torch and its compiled mmcv included. A finished set-up leaves a stamp, and then
there is nothing to do; one that was broken off, or whose packages have changed since, is mended.

requirements.txt holds the usual versions, requirements-NAME.txt what `--add NAME` replaces or adds.
Where they ask for a mmcv with compiled operators, compile_mmcv.py makes it.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compile_mmcv
from compile_mmcv import SetupError, locked, operators_of, output_of, say

REPO = Path(__file__).resolve().parents[1]
PYTHONS = ((3, 11), (3, 13))  # oldest and newest that the pinned versions are there for
MADE_HERE = '.made-by-mmdet-lla'
#: Distributions that bring a module under another name: the fork's, and mmcv without operators.
MODULES = {
    'onedl-mmengine': 'mmengine',
    'onedl-mmcv': 'mmcv',
    'onedl-mmdetection': 'mmdet',
    'mmcv-lite': 'mmcv',
}


# --------------------------------------------------------------------------- versions and stamp
def read_pins(text):
    """Requirements by what they bring: ``{'torch': 'torch==2', 'mmcv': 'mmcv-lite==2.1.0'}``."""
    lines = filter(None, (line.split('#')[0].strip() for line in text.splitlines()))
    names = {line: line.split('==')[0].lower() for line in lines}
    return {MODULES.get(name, name): line for line, name in names.items()}


def requirement_files(repo, added):
    """requirements.txt and those of the names to add; later ones take the place of earlier ones.

    A stack has the last word, also on extras.
    """
    added = sorted(added, key=lambda name: name != 'extras')
    files = [repo / 'requirements.txt'] + [repo / f'requirements-{name}.txt' for name in added]
    for file in files:
        if not file.is_file():
            there = sorted(path.stem.split('-', 1)[1] for path in repo.glob('requirements-*.txt'))
            raise SetupError(f'{file.name} is missing; there are: {", ".join(there)}')
    return files


def all_pins(files):
    return {name: pin for file in files for name, pin in read_pins(file.read_text()).items()}


def fingerprint(repo, files):
    """Changes with everything that a set-up depends on, the checkout's place included."""
    digest = hashlib.sha256(str(repo).encode())
    for file in [*files, repo / 'setup.cfg', repo / 'tools' / 'setup_env.py']:
        digest.update(file.name.encode() + b'\0' + file.read_bytes())
    return digest.hexdigest()


def write_stamp(stamp, mark):
    """Record a finished set-up, and what is installed."""
    dists = stamp.parent.glob('lib/python*/site-packages/*.dist-info')
    stamp.write_text(json.dumps({'fingerprint': mark, 'files': sorted(map(str, dists))}, indent=1))


def unfinished(stamp, mark):
    """Why there is something to do, or None."""
    if not stamp.parent.exists():
        return 'is not there'
    try:
        found = json.loads(stamp.read_text())
        lost = [Path(file).stem for file in found['files'] if not os.path.exists(file)]
    except (OSError, ValueError, KeyError):
        return 'is not finished'
    if lost:
        return f'has lost {", ".join(lost)}'
    return None if found.get('fingerprint') == mark else 'is of other versions'


# --------------------------------------------------------------------------- what is there
PROBE = """
import json, re, sys
from importlib import metadata
names = {re.sub('[-_.]+', '-', dist.metadata['Name'] or '').lower(): dist.version
         for dist in metadata.distributions()}
print(json.dumps([sys.version_info[:2], names]))
"""


def probe(python):
    """Version of an interpreter, and its distributions by name; None if it does not run."""
    found = output_of(python, PROBE)
    return found and (tuple(json.loads(found)[0]), json.loads(found)[1])


def choose_python(wanted, probe=probe):
    """The interpreter asked for, else the tested one, else one there are wheels for."""
    seen = []
    for name in [wanted] if wanted else ['python3.11', sys.executable, 'python3.12', 'python3.13']:
        found = probe(name)
        if found and PYTHONS[0] <= found[0] <= PYTHONS[1]:
            return name
        seen.append('{} is {}.{}'.format(name, *found[0]) if found else f'no {name}')
    raise SetupError(
        'Python 3.11 to 3.13 is missing ({}). On Debian and Ubuntu: apt install python3.11 '
        'python3.11-venv; or name one: make ... PYTHON=/path/to/python3.11'.format(', '.join(seen))
    )


def check_one_family(dists, pins, venv):
    """OpenMMLab and its fork install the same modules: the later one overwrites the other's."""
    ours = {*MODULES, *MODULES.values()}
    fork = pins['mmcv'].startswith('onedl')
    others = sorted(name for name in ours & set(dists) if name.startswith('onedl') != fork)
    if others:
        raise SetupError(
            '{0} has {1}, whose files {2} would overwrite. Use another environment, or empty this '
            'one first: {0}/bin/python -m pip uninstall {1}'.format(
                venv, ' '.join(others), pins['mmcv']
            )
        )


# --------------------------------------------------------------------------- the set-up
def pip(python, *arguments):
    """Run pip, which tells itself how far it is and what it fails with."""
    command = [str(python), '-m', 'pip', *arguments]
    if subprocess.run(command).returncode:
        raise SetupError('this failed: ' + ' '.join(command))


def make_environment(venv, python):
    """An empty one, also in the place of a broken one."""
    say(f'* making {venv} with {python}')
    if subprocess.run([python, '-m', 'venv', '--clear', str(venv)]).returncode:
        raise SetupError(f'{python} cannot make an environment; Debian: apt install python3-venv')
    (venv / MADE_HERE).touch()


def keeps_mmcv(python, dists, pins, own):
    """Whether the compiled mmcv that is there stays; one whose files would be overwritten goes."""
    wanted = pins['mmcv'].split('==')[0]
    there = next((name for name in ('mmcv', 'onedl-mmcv') if name in dists), None)
    fits = there and (
        wanted == 'mmcv-lite' or not own or f'{there}=={dists[there]}' == pins['mmcv']
    )
    if fits and operators_of(python):
        say(f'* {there} {dists[there]} with its compiled operators stays')
        return True
    if there and wanted == 'mmcv-lite' and not own:
        raise SetupError(
            f'the operators of {there} {dists[there]} do not load with the torch that is there. '
            f'Compile them (make setup MMCV=full VENV=...), or {python} -m pip uninstall {there}'
        )
    goes = there if wanted == 'mmcv-lite' else 'mmcv-lite'
    if goes in dists:
        say(f'* {goes} {dists[goes]} gives way to {pins["mmcv"]}')
        pip(python, 'uninstall', '--yes', goes)
    return False


def install(venv, own, pins, added):
    """All packages: the pinned ones into an environment of ours, what is missing into another."""
    python = venv / 'bin' / 'python'
    _, dists = probe(python)
    check_one_family(dists, pins, venv)
    keep = {'torch'} & set(dists)
    compiled = keeps_mmcv(python, dists, pins, own)
    if not compiled and not pins['mmcv'].startswith('mmcv-lite'):
        tools = [
            pins[name] for name in ('torch', 'setuptools', 'wheel', 'ninja') if name not in keep
        ]
        pip(python, 'install', *tools)
        compile_mmcv.install(str(python), pins['mmcv'])
        compiled = True
    if own:
        keep |= {'mmcv'} if compiled else set()
        wanted = [pin for name, pin in pins.items() if name not in keep]
        # Modules are compiled when they are first imported; to compile all takes 20 s.
        pip(python, 'install', '--no-compile', *wanted)
        pip(python, 'install', '--no-deps', '--no-build-isolation', '--editable', str(REPO))
    else:
        family = (
            'onedl' if pins['mmcv'].startswith('onedl') else 'openmmlab' if compiled else 'lite'
        )
        extras = ',export,ray' if 'extras' in added else ''
        if extras and dists.get('numpy', '2').startswith('1.'):
            say('* without the extra `predict`: its trackers would replace numpy 1')
        elif extras:
            extras = ',predict' + extras
        pip(python, 'install', '--editable', f'{REPO}[{family},tests,tensorboard{extras}]')


VERIFY = """
import torch, mmdet, mmcv._ext
from mmcv.ops import nms
nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
print('compiled' if mmcv._ext.__file__.endswith('.so') else 'in plain torch')
"""


#: What OpenCV wants of the system, as far as bare containers lack it.
OPENCV = ('libxcb.so', 'libGL.so', 'libgthread-2.0.so')


def verify(python):
    """See that torch, mmcv's operators and mmdet work together."""
    result = subprocess.run([str(python), '-c', VERIFY], capture_output=True, text=True)
    if result.returncode:
        error = result.stderr.strip().splitlines()[-1]
        # OpenCV asks for one after the other.
        hint = '; apt install libgl1 libglib2.0-0' if any(one in error for one in OPENCV) else ''
        raise SetupError('torch, mmcv and mmdet do not work together: ' + error + hint)
    say(f"* all of it works; mmcv's operators are {result.stdout.strip()}")


def set_up(venv, wanted, added):
    """Do what is not done yet."""
    start = time.time()
    files = requirement_files(REPO, added)
    mark = fingerprint(REPO, files)
    # Extras are added to a set-up that is finished without them.
    stamp = venv / f'.mmdet-lla-setup{"-extras" if "extras" in added else ""}.json'
    if unfinished(stamp, mark) is None:
        return
    name = hashlib.sha256(str(venv).encode()).hexdigest()[:16]
    lock = Path(tempfile.gettempdir()) / f'mmdet_lla-{os.getuid()}-{name}.lock'
    with locked(lock, f'another set-up of {venv} is running; waiting for it'):
        why = unfinished(stamp, mark)
        if why is None:
            return
        say(f'{venv} {why}: setting it up')
        own = venv.parent == REPO or (venv / MADE_HERE).exists() or not venv.exists()
        found = probe(venv / 'bin' / 'python')
        if own and (found is None or 'pip' not in found[1]):
            make_environment(venv, choose_python(wanted))
        elif found is None:
            raise SetupError(f'{venv} is there but holds no bin/python that runs')
        elif not own and 'onedl' not in added and 'onedl-mmengine' in found[1]:
            files = requirement_files(REPO, ['onedl', *added])
        if stamp.exists():
            stamp.unlink()
        install(venv, own, all_pins(files), added)
        verify(venv / 'bin' / 'python')
        write_stamp(stamp, mark)
        say(f'Set up in {time.time() - start:.0f} s')


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', default='.venv', help='environment to use or to make')
    parser.add_argument('--python', help='interpreter to make it with')
    parser.add_argument('--add', action='append', default=[], help='NAME of requirements-NAME.txt')
    options = parser.parse_args(arguments)
    try:
        venv = Path(os.path.abspath(os.path.expanduser(options.venv)))
        set_up(venv, options.python, options.add)
    except SetupError as error:
        say(f'\nSet-up stopped: {error}')
        return 1
    except KeyboardInterrupt:
        say('\nSet-up broken off; the next one goes on from here.')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
