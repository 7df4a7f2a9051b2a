"""Draw the priors that each box took, under one or several assigners side by side.

    python tools/browse_assignments.py CONFIG CHECKPOINT --assigner \\
        "dict(type='ATSSAssigner', topk=9)" configs/demo/other.py SimOTAAssigner

The config's own assigner comes first. All of them see the same picture through the same weights.
Exit status: 0 if all assigners were drawn, 1 if one failed, 2 if nothing could be done.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table

from ..analysis.browsing import BrowseResult, browse
from .mmdet_tools import check_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='of a detector whose bbox_head or rpn_head has an assigner')
    parser.add_argument(
        'checkpoint', nargs='?', help='its weights (default: those it would start training with)'
    )
    parser.add_argument(
        '--assigner',
        nargs='+',
        default=[],
        metavar='ASSIGNER',
        help='further assigners: a name, "dict(type=\'...\', ...)" or a config',
    )
    parser.add_argument('--split', choices=('train', 'val'), default='val')
    parser.add_argument(
        '--number',
        type=int,
        default=8,
        help='pictures, the first that have boxes (default: %(default)s)',
    )
    parser.add_argument(
        '--pictures',
        nargs='+',
        default=[],
        metavar='ID',
        help='IDs or file names without extension, instead',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/assignments'),
        help='folder for the pictures (default: %(default)s)',
    )
    parser.add_argument(
        '--columns',
        type=int,
        default=0,
        help='panels beside each other (default: what fits a screen)',
    )
    parser.add_argument(
        '--width', type=int, default=960, help='of a panel, in pixels (default: %(default)s)'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings of the config to override, key=value',
    )
    return parser.parse_args(argv)


def print_summaries(result: BrowseResult) -> None:
    table = Table(title=f'{len(result.paths)} images')
    table.add_column('', no_wrap=True)
    for name in result.summaries:
        table.add_column(name, justify='right', overflow='fold')
    keys = dict.fromkeys(key for summary in result.summaries.values() for key in summary)
    for key in sorted(keys, key=lambda key: (key == 'agreement', key.startswith('level_'))):
        values = [summary.get(key) for summary in result.summaries.values()]
        table.add_row(key, *('' if value is None else f'{value:.3f}' for value in values))
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    warnings.simplefilter('ignore')
    MMLogger.get_instance('mmengine', log_level='WARNING')
    loaders = (f'{args.split}_dataloader',)
    try:
        cfg = check_config(args.config, args.cfg_options, loaders, args.checkpoint)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        result = browse(
            cfg,
            args.checkpoint,
            args.assigner,
            args.split,
            args.number,
            args.pictures,
            args.out_dir,
            args.device,
            args.columns,
            args.width,
        )
    except (OSError, ValueError) as error:
        print(f'{args.config} cannot be browsed: {error}', file=sys.stderr)
        return 2
    if result.summaries:
        print_summaries(result)
    if result.skipped:
        print(f'{len(result.skipped)} images without gts were left out')
    for name, reason in result.failures.items():
        print(f'{name} was left out: {reason}', file=sys.stderr)
    print(f'{len(result.paths)} images in {args.out_dir}')
    return 1 if result.failures else 0
