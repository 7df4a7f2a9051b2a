"""Ablation study: train and test each config for each seed, then tables and a report.

Interrupt it as you like: started again with the same arguments, it goes on where it stopped.
"""

import argparse
import signal
import sys
import warnings
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='docs/ablations.md says more.'
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='the first is what the others are compared with; NAME=CONFIG gives '
        'it a name in tables and plots',
    )
    parser.add_argument(
        '--sweep',
        action='append',
        default=[],
        metavar='KEY=V1,V2,...',
        help='also run the first config once per value of KEY; a key without dots is an argument '
        'of the assigner, as in topk=5,10,20 (may be given several times)',
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], help='(default: %(default)s)'
    )
    parser.add_argument(
        '--engine',
        choices=('local', 'ray'),
        default='local',
        help='this machine, or a cluster of Ray (pip install mmdet-lla[ray]; default: %(default)s)',
    )
    parser.add_argument(
        '--address',
        help="with --engine ray: the cluster to join, 'auto' for the one of this machine; without "
        'it one is started here and ended with the study',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        help='runs at once (default: one a GPU or group of GPUs, else 1; under Ray as many as '
        'there is room for)',
    )
    parser.add_argument(
        '--cpus-per-run',
        type=int,
        help='threads of a run (default: an equal share of the cores; under Ray 4 a GPU, or 1)',
    )
    parser.add_argument(
        '--gpus-per-run',
        type=int,
        help='GPUs of a run, one process each under torchrun (default: 1, or 0 without any)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/ablation'),
        help='where everything goes (default: %(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings of all configs, as in tools/train.py',
    )
    parser.add_argument(
        '--no-checkpoints',
        action='store_true',
        help='remove the checkpoint of a run after its test',
    )
    parser.add_argument(
        '--report-only',
        action='store_true',
        help='train nothing: tables and report of the runs that are done',
    )
    parser.add_argument(
        '--weights-of',
        type=Path,
        metavar='DIR',
        help='train nothing: test the weights of the study in this folder, of the same configs and '
        'seeds, on the test set that --cfg-options names',
    )
    args = parser.parse_args(argv)
    if args.address and args.engine != 'ray':
        parser.error(f'--address {args.address} is of a cluster of Ray, expected --engine ray')
    return args


def engine_of(args: argparse.Namespace):
    """What does the runs."""
    from ..ablation.engines import LocalEngine

    resources = dict(jobs=args.jobs, cpus_per_run=args.cpus_per_run, gpus_per_run=args.gpus_per_run)
    if args.engine == 'local':
        return LocalEngine(**resources)
    try:
        from ..ablation.engines.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        if error.name != 'ray':
            raise
        sys.exit('--engine ray needs Ray: pip install "mmdet-lla[ray]", or pip install ray')
    return RayEngine(args.work_dir.resolve(), args.address, **resources)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    # What libraries deprecate is no news to who runs a study.
    warnings.simplefilter('ignore')
    from ..ablation import ablate

    MMLogger.get_instance('mmengine', log_level='WARNING')
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        failures = ablate(
            args.configs,
            args.seeds,
            args.work_dir.resolve(),
            engine=engine_of(args),
            sweeps=args.sweep,
            options=args.cfg_options,
            keep_checkpoints=not args.no_checkpoints,
            train=not args.report_only,
            weights_of=args.weights_of and args.weights_of.resolve(),
            command=['python', 'tools/ablate.py', *argv],
        )
    except (ConnectionError, FileNotFoundError, ValueError) as error:
        sys.exit(f'{error}')
    except KeyboardInterrupt:
        sys.exit('\nInterrupted. Start it again with the same arguments to go on.')
    print(
        f'{args.work_dir}/report.html, results.csv and results.json tell what came of it',
        file=sys.stderr,
    )
    for failure in failures:
        print(
            f'FAILED: {failure.run.name}: {failure.reason.splitlines()[-1]} ({failure.log})',
            file=sys.stderr,
        )
    return 1 if failures else 0
