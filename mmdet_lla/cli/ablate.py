"""Run an ablation study: train and test each config with each seed, then write a report.

  mmdet-lla ablate LLA=lla.py ATSS=atss.py --seeds 0 1 2 --out-dir work_dirs/study
  mmdet-lla ablate lla.py --sweep topk=5,10,20

The study can be interrupted at any time; the same command continues it.
docs/tutorials/first-ablation.md explains the report.
"""

import argparse
import sys
from pathlib import Path

from .options import CommandParser, hush_mmengine, parse_count, read_cfg_options, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('ablate', __doc__)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='[NAME=]CONFIG',
        help='configs to compare; the first is the baseline',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        metavar='SEED',
        help='seeds of the trainings, one run per config and seed',
    )
    parser.add_argument(
        '--sweep',
        action='append',
        default=[],
        metavar='KEY=V1,V2,...',
        help='also run the first config once per value of KEY; a key without dots is an argument '
        'of the assigner, as in topk=5,10,20; may be repeated (default: none)',
    )
    parser.add_argument(
        '--engine',
        choices=('local', 'ray'),
        default='local',
        help='where runs are executed: on this machine or on a Ray cluster',
    )
    parser.add_argument(
        '--address',
        help='Ray cluster to join, auto for the one of this machine (default: start one here and '
        'stop it after the study)',
    )
    parser.add_argument(
        '--jobs',
        type=parse_count,
        metavar='N',
        help='number of runs at once (default: one per group of GPUs, else 1; with Ray what the '
        'cluster has room for)',
    )
    parser.add_argument(
        '--cpus-per-run',
        type=parse_count,
        metavar='N',
        help='threads of a run (default: an equal part of the cores; with Ray 4 per GPU, or 1)',
    )
    parser.add_argument(
        '--gpus-per-run',
        type=int,
        metavar='N',
        help='GPUs of a run, one process each (default: 1, or 0 where there is none)',
    )
    parser.add_shared('--out-dir')
    parser.add_alias('--work-dir', '--out-dir')
    parser.add_shared('--cfg-options')
    parser.add_argument(
        '--no-checkpoints',
        action='store_true',
        help='remove the checkpoint of a run after its test',
    )
    parser.add_argument(
        '--report-only',
        action='store_true',
        help='train nothing and report the finished runs',
    )
    parser.add_argument(
        '--weights-of',
        type=Path,
        metavar='DIR',
        help='train nothing and test the weights of the study in this directory, which has the '
        'same configs and seeds, on the test set of --cfg-options (default: train)',
    )
    parser.add_shared('--quiet')
    return parser


def create_engine(args: argparse.Namespace):
    """Return the engine that executes the runs.

    Raises:
        ImportError: Ray is not installed.
    """
    from ..ablation.engines import LocalEngine

    resources = dict(jobs=args.jobs, cpus_per_run=args.cpus_per_run, gpus_per_run=args.gpus_per_run)
    if args.engine == 'local':
        return LocalEngine(**resources)
    try:
        from ..ablation.engines.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        if error.name != 'ray':
            raise
        raise ImportError('--engine ray needs Ray: pip install "mmdet-lla[ray]"') from error
    return RayEngine(args.out_dir.resolve(), args.address, **resources)


def run(args: argparse.Namespace) -> int:
    if args.address and args.engine != 'ray':
        raise ValueError(f'--address {args.address} needs --engine ray')
    from ..ablation import ablate

    hush_mmengine()
    failures = ablate(
        args.configs,
        args.seeds,
        args.out_dir.resolve(),
        engine=create_engine(args),
        options=read_cfg_options(args.cfg_options),
        keep_checkpoints=not args.no_checkpoints,
        train=not args.report_only,
        weights_of=args.weights_of and args.weights_of.resolve(),
        command=args.command_line.split(),
        sweeps=args.sweep,
    )
    print(f'written: {args.out_dir}/report.html, results.csv and results.json')
    for failure in failures:
        reason = failure.reason.splitlines()[-1]
        print(f'failed: {failure.run.name}: {reason} ({failure.log})', file=sys.stderr)
    return 1 if failures else 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
