"""Publish a checkpoint: weights, config and names of classes in one small file for others.

It loads with plain torch.load, in mmdet's DetInferencer and in our Predictor, in any process.

Example:
    python tools/publish.py work_dirs/crowd/epoch_12.pth --out-dir models --half \
        --threshold 0.42 --metrics work_dirs/crowd/20250101_120000/20250101_120000.json
"""

import argparse
import sys
import warnings
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='docs/checkpoints.md says what is in the file.'
    )
    parser.add_argument('checkpoint', type=Path, help='as a training wrote it')
    parser.add_argument(
        '--config', help='the config that goes into the file (default: the checkpoint has it)'
    )
    parser.add_argument(
        '--out-dir', type=Path, help='folder to write to (default: that of the checkpoint)'
    )
    parser.add_argument('--name', help="what the file's name begins with (default: the config's)")
    parser.add_argument('--half', action='store_true', help='weights in float16, half the size')
    parser.add_argument(
        '--threshold', type=float, help='the score that was best on validation, 0 to 1'
    )
    parser.add_argument(
        '--metrics', type=Path, help='what tools/test.py wrote: the .json in its work directory'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    warnings.simplefilter('ignore')
    from mmdet.utils import register_all_modules

    from ..named_configs import read_config
    from ..publishing import publish, read_metrics

    register_all_modules()
    try:
        path = publish(
            args.checkpoint,
            args.out_dir or args.checkpoint.parent,
            read_config(args.config) if args.config else None,
            args.name,
            args.half,
            args.threshold,
            read_metrics(args.metrics) if args.metrics else None,
        )
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    print(f'{path} ({path.stat().st_size:,} bytes), config {path.with_suffix(".py").name}')
    return 0
