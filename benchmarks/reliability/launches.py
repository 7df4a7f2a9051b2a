"""Launch several processes again and again, and count how they end.

    python benchmarks/reliability/launches.py --launches 40 --processes 2 4 --busy 2

Each launch is one of tools/dist_train.sh. What it starts is, without --whole, a stand-in for
train.py that imports torch alone: it joins, adds numbers up through gloo and leaves by the very
code of our tools, so that hundreds of processes end in minutes. With --whole it is train.py, on a
small detector and small images. While every second launch runs, other processes keep the cores
busy. --forget leaves out what leaves in order, to see what happens then.
"""

import argparse
import collections
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'benchmarks'))
from harness import keep_busy  # noqa: E402

STAND_IN = """
import sys
from contextlib import nullcontext

import torch

from mmdet_lla import processes

with nullcontext() if 'forget' in sys.argv else processes.orderly_end():
    processes.join_by_torch('nccl')
    for _ in range(20):
        torch.distributed.all_reduce(torch.ones(1000))
"""


def whole_training(directory: Path) -> str:
    """Config of a training of two iterations, with its images."""
    from kills import tiny_config

    from mmdet_lla.synthetic import CrowdParams, build_dataset

    build_dataset(str(directory / 'crowd'), 8, 1, CrowdParams(width=96, height=96), workers=1)
    cfg = tiny_config(str(directory / 'crowd'), str(directory / 'work'))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    cfg.resume = False
    cfg.dump(directory / 'config.py')
    return str(directory / 'config.py')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--launches', type=int, default=40, help='with each number of processes')
    parser.add_argument('--processes', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--busy', type=int, default=2, help='others, in every second launch')
    parser.add_argument('--whole', action='store_true', help='train.py itself')
    parser.add_argument('--forget', action='store_true', help='end without leaving')
    args = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix='launches_'))
    config = whole_training(directory) if args.whole else 'forget' if args.forget else 'none'
    script = ROOT / 'tools/dist_train.sh'
    if not args.whole:
        script = Path(shutil.copy(script, directory))
        (directory / 'train.py').write_text(STAND_IN)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    env = dict(
        os.environ,
        PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']]),
        PYTHONPATH=str(ROOT),
        PYTHONWARNINGS='ignore',
        OMP_NUM_THREADS='1',
        PORT=str(port),
    )
    bad = 0
    for processes in args.processes:
        ends = collections.Counter()
        for i in range(args.launches):
            with keep_busy(args.busy * (i % 2)):
                done = subprocess.run(
                    ['bash', str(script), config, str(processes)],
                    env=env,
                    cwd=directory,
                    capture_output=True,
                    text=True,
                )
            ends[done.returncode, 'terminate called' in done.stderr] += 1
            if done.returncode:
                (directory / f'failed_{processes}_{i}.txt').write_text(done.stdout + done.stderr)
        good = ends[0, False]
        bad += args.launches - good
        print(
            f'{processes} processes: {good} of {args.launches} launches ended with exit status 0',
            flush=True,
        )
        for (status, terminated), count in (ends).items():
            why = ', terminate called' if terminated else ''
            print(f'  {count} with exit status {status}{why}', flush=True)
    if bad:
        print(f'What failed is in {directory}')
    else:
        shutil.rmtree(directory)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
