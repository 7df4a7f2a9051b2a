"""Publish a checkpoint: weights, config and class names in one small file for others.

  mmdet-lla publish work_dirs/crowd/epoch_12.pth --out-dir models --half --threshold 0.42 \\
      --metrics work_dirs/crowd/20250101_120000/20250101_120000.json

The file loads with plain torch.load, in mmdet's DetInferencer and in our Predictor.
docs/guides/publish.md lists its content.
"""

import argparse
from pathlib import Path

from .options import CommandParser, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('publish', __doc__)
    parser.add_argument(
        'checkpoint', type=Path, metavar='CHECKPOINT', help='checkpoint that a training wrote'
    )
    parser.add_argument(
        '--config', metavar='CONFIG', help="config to store (default: the checkpoint's own)"
    )
    parser.add_shared('--out-dir')
    parser.add_argument('--name', help="start of the file's name (default: the config's name)")
    parser.add_argument(
        '--half', action='store_true', help='store the weights in float16, which halves the size'
    )
    parser.add_argument(
        '--threshold',
        type=float,
        metavar='SCORE',
        help='score threshold that was best on validation, 0 to 1 (default: none)',
    )
    parser.add_argument(
        '--metrics',
        type=Path,
        metavar='FILE',
        help='.json with metrics that `mmdet-lla test` wrote (default: none)',
    )
    return parser


def run(args: argparse.Namespace) -> int:
    from mmdet.utils import register_all_modules

    from ..named_configs import read_config
    from ..publishing import publish, read_metrics

    register_all_modules()
    path = publish(
        args.checkpoint,
        args.out_dir,
        read_config(args.config) if args.config else None,
        args.name,
        args.half,
        args.threshold,
        read_metrics(args.metrics) if args.metrics else None,
    )
    print(f'{path} ({path.stat().st_size:,} bytes), config {path.with_suffix(".py").name}')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
