"""Fill a real disk at random moments of a small training, make room, resume, and compare weights.

    python benchmarks/reliability/full_disk.py --times 20

A small file system in memory is mounted where no other process sees it (as root, or where users may
have namespaces). On it ``tools/train.py`` trains on generated crowds, with checkpoints, logs and
scalars every iteration. Each time the disk is filled up, before the start or in some iteration, to
the last byte or but for a part of a checkpoint. The training must then end with exit status 1 and a
message as its last line, or go on to its end if what it wrote had room; every checkpoint must be
whole; and with room again ``--resume`` must end with the weights of a training whose disk was never
full, bit for bit.
"""

import argparse
import os
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from kills import differences, final_weights, tiny_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdet_lla.hooks.checkpoint_files import checkpoint_fault
from mmdet_lla.synthetic import CrowdParams, build_dataset

TOOL = Path(__file__).parents[2] / 'tools' / 'train.py'
MOUNTED = 'FULL_DISK_MOUNTED_AT'
SIZE_MB, ITERATIONS = 64, 20


@HOOKS.register_module()
class FillDisk(Hook):
    """Fills the disk before an iteration, but for some bytes. The first training is not disturbed.

    ``FILL`` in the environment: the iteration, the bytes and the file to fill it with.
    """

    priority = 'LOWEST'

    def before_train_iter(self, runner, *args, **kwargs):
        iteration, left, path = os.environ.get('FILL', '-1,0,').split(',')
        if runner.iter == int(iteration):
            fill(Path(path), int(left))


def fill(path: Path, left: int) -> None:
    """Write a file until a file system has room for so many bytes more, in whole blocks."""
    with open(path, 'ab', buffering=0) as file:
        try:
            while True:
                file.write(b'\0' * (1 << 16))
        except OSError:
            pass
        file.truncate(max(file.tell() - left, 0))


def run_tool(arguments: list[str], log: Path) -> None:
    """What a shell does with ``tools/train.py``, without importing everything once more."""
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = [str(TOOL), *arguments]
    sys.path.insert(0, str(TOOL.parent))
    runpy.run_path(str(TOOL), run_name='__main__')


def train(config: Path, work_dir: Path, log: Path, iteration: int = -1, left: int = 0) -> int:
    """Train or resume; the exit status."""
    os.environ['FILL'] = f'{iteration},{left},{work_dir.parent / "filler"}'
    process = get_context('fork').Process(
        target=run_tool, args=([str(config), '--work-dir', str(work_dir), '--resume'], log)
    )
    process.start()
    process.join()
    return process.exitcode


def main(args: argparse.Namespace, disk: Path) -> int:
    moments = random.Random(args.seed)
    directory = Path(tempfile.mkdtemp(prefix='full_disk_'))  # on another disk
    build_dataset(str(directory / 'crowd'), 8, 1, CrowdParams(width=96, height=96), workers=1)
    cfg = tiny_config(str(directory / 'crowd'), 'set by the option', checkpoints=(False, 3))
    cfg.custom_hooks = [dict(type='FillDisk')]
    cfg.log_level = 'INFO'
    config, log = directory / 'config.py', directory / 'log'
    cfg.dump(config)
    Config.pretty_text = property(str)  # to set it nicely takes longer than to train
    whole = disk / 'whole'
    if train(config, whole, log):
        print(log.read_text()[-3000:])
        return 1
    wanted = final_weights(Config(dict(work_dir=str(whole))))
    checkpoint = next(whole.glob('*.pth')).stat().st_size
    shutil.rmtree(whole)
    ends = {}
    for time in range(args.times):
        work = disk / f'run {time}'
        iteration = moments.randrange(ITERATIONS)
        left = 0 if time % 2 == 0 else moments.randrange(3 * checkpoint)
        if time % 5 == 4:
            iteration = -1
            fill(disk / 'filler', left)
        status = train(config, work, log, iteration, left)
        (disk / 'filler').unlink(missing_ok=True)
        words = log.read_text().strip().splitlines()[-1]
        checkpoints = list(work.glob('*.pth'))
        faults = [
            f'{path.name}: {checkpoint_fault(path)}'
            for path in checkpoints
            if checkpoint_fault(path)
        ]
        explained = ('no room to write' in words or str(work) in words) and 'make room' in words
        if (
            status not in (0, 1)
            or (status == 1 and not explained)
            or faults
            or (checkpoints and not (work / 'last_checkpoint').is_file())
        ):
            print(log.read_text()[-3000:])
            print(f'status {status}, iteration {iteration}, {left} bytes left, {faults}')
            return 1
        kind = (
            'room was enough'
            if status == 0
            else ('a checkpoint' if 'could not be written' in words else 'results')
        )
        kind = kind.replace(str(work), 'WORK_DIR')
        ends[kind] = ends.get(kind, 0) + 1
        if train(config, work, log):
            print(log.read_text()[-3000:])
            return 1
        found = differences(wanted, final_weights(Config(dict(work_dir=str(work)))))
        print(
            f'iteration {iteration}, {left} bytes left: {words[-300:]}\n  resumed: {len(found)} '
            'differences',
            flush=True,
        )
        if found:
            return 1
        shutil.rmtree(work)
    shutil.rmtree(directory)
    print(f'{args.times} times a full disk: {ends}; 0 differences')
    return 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--times', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parsed = parser.parse_args()
    if MOUNTED in os.environ:
        sys.exit(main(parsed, Path(os.environ[MOUNTED])))
    with tempfile.TemporaryDirectory() as place:
        sys.exit(
            subprocess.run(
                [
                    'unshare',
                    '--map-root-user',
                    '--mount',
                    'sh',
                    '-c',
                    f'mount -t tmpfs -o size={SIZE_MB}m tmpfs "$0" || exit 77; exec "$@"',
                    place,
                    sys.executable,
                    *sys.argv,
                ],
                env=dict(os.environ, **{MOUNTED: place}),
            ).returncode
        )
