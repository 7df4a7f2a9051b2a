"""Draw the priors that each gt is assigned, under one or several assigners side by side.

  mmdet-lla browse-assignments CONFIG --weights CHECKPOINT --assigner \\
      "dict(type='ATSSAssigner', topk=9)" configs/demo/other.py SimOTAAssigner

The config's own assigner comes first. All assigners get the same images and the same weights.
Status 1 says that an assigner failed.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .options import (
    CommandParser,
    hush_mmengine,
    parse_count,
    read_cfg_options,
    run_command,
)

if TYPE_CHECKING:
    from ..analysis.browsing import BrowseResult


def build_parser() -> CommandParser:
    parser = CommandParser('browse-assignments', __doc__)
    parser.add_argument(
        'config', metavar='CONFIG', help='config of a detector whose head has an assigner'
    )
    parser.add_argument('checkpoint', nargs='?', help=argparse.SUPPRESS)
    parser.add_shared('--weights')
    parser.add_argument(
        '--assigner',
        nargs='+',
        default=[],
        metavar='ASSIGNER',
        help='further assigners: a name, "dict(type=\'...\', ...)" or a config (default: none)',
    )
    parser.add_argument(
        '--split', choices=('train', 'val'), default='val', help='split whose images are drawn'
    )
    parser.add_shared('--num-images')
    parser.add_alias('--number', '--num-images')
    parser.add_argument(
        '--img-ids',
        nargs='+',
        default=[],
        metavar='ID',
        help='images to draw, by ID or file name without extension (default: the first ones that '
        'have gts)',
    )
    parser.add_alias('--pictures', '--img-ids')
    parser.add_shared('--out-dir')
    parser.add_argument(
        '--columns',
        type=int,
        default=0,
        metavar='N',
        help='number of panels side by side (default: what fits a screen)',
    )
    parser.add_argument(
        '--width', type=parse_count, default=960, metavar='PIXELS', help='width of a panel'
    )
    parser.add_shared('--device', '--threads', '--cfg-options', '--quiet')
    return parser


def print_summaries(result: BrowseResult) -> None:
    """Print the statistics of each assigner as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f'{len(result.paths)} images')
    table.add_column('', no_wrap=True)
    for name in result.summaries:
        table.add_column(name, justify='right', overflow='fold')
    keys = dict.fromkeys(key for summary in result.summaries.values() for key in summary)
    for key in sorted(keys, key=lambda key: (key == 'agreement', key.startswith('level_'))):
        values = [summary.get(key) for summary in result.summaries.values()]
        table.add_row(key, *('' if value is None else f'{value:.3f}' for value in values))
    Console().print(table)


def run(args: argparse.Namespace) -> int:
    from ..analysis.browsing import browse
    from ..inference.loading import resolve_device
    from ..utils.files import check_outputs
    from .mmdet_tools import check_config

    hush_mmengine()
    check_outputs([args.out_dir / 'a'], [])
    weights = args.weights or args.checkpoint
    options = read_cfg_options(args.cfg_options)
    cfg = check_config(args.config, options, (f'{args.split}_dataloader',), weights)
    result = browse(
        cfg,
        weights,
        args.assigner,
        args.split,
        args.num_images,
        args.img_ids,
        args.out_dir,
        resolve_device(args.device),
        args.columns,
        args.width,
    )
    if result.summaries:
        print_summaries(result)
    if result.skipped:
        print(f'{len(result.skipped)} images without gts were skipped')
    for name, reason in result.failures.items():
        print(f'{name} failed: {reason}', file=sys.stderr)
    print(f'written: {len(result.paths)} images in {args.out_dir}')
    return 1 if result.failures else 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
