"""Convert a checkpoint of cvpods (LLA's and DeFCN's LLA.FCOS, FCOS, ATSS) for mmdet, or back.

    python tools/model_converters/cvpods.py model_final.pth lla.pth \\
        --config configs/lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py
    python tools/test.py lla.py lla.pth

The config, adapted to the weights, is written next to DST, with the ending .py. Only tensors and
plain values of SRC are read. Exit status: 0 if all tensors were converted, 2 otherwise; then
nothing is written.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from mmengine.config import DictAction

from ..cvpods import (
    Conversion,
    adapt_config,
    build_model,
    make_checkpoint,
    to_cvpods,
    to_mmdet,
)
from ..named_configs import read_config
from ..plain_checkpoints import read_weights
from ..utils.files import atomic_path, atomic_write, check_outputs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', metavar='SRC', type=Path, help='checkpoint to read')
    parser.add_argument('dst', metavar='DST', type=Path, help='checkpoint to write, ending in .pth')
    parser.add_argument(
        '--config', required=True, help='of the model, with LLAHead on points or FCOSHead'
    )
    parser.add_argument(
        '--prior-offset',
        type=float,
        choices=(0, 0.5),
        help='position of priors in their cell; required for weights that do not tell',
    )
    parser.add_argument(
        '--to-cvpods', action='store_true', help="convert mmdet's SRC to cvpods' DST"
    )
    parser.add_argument('--list', action='store_true', help='list every tensor with both names')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to override',
    )
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> str:
    """Convert a checkpoint and return the report."""
    if args.dst.suffix != '.pth':
        raise ValueError(f'DST is {args.dst}, expected a name that ends in .pth')
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    source, target = ('state_dict', 'model') if args.to_cvpods else ('model', 'state_dict')
    config = [] if args.to_cvpods else [args.dst.with_suffix('.py')]
    check_outputs([args.dst, *config], [args.src, args.config])
    given = read_weights(args.src, source)
    changes = []
    if args.to_cvpods:
        conversion = to_cvpods(given[source], build_model(cfg))
        checkpoint = {target: conversion.state_dict}
    else:
        cfg, changes = adapt_config(cfg, given[source], args.prior_offset)
        conversion = to_mmdet(given[source], build_model(cfg))
        checkpoint = make_checkpoint(conversion, cfg, f'{args.src.name} of cvpods')
        with atomic_write(args.dst.with_suffix('.py')) as file:
            file.write(cfg.pretty_text)
    with atomic_path(args.dst) as path:
        torch.save(checkpoint, path)
    return report(args, given, source, conversion, changes)


def report(args, given: dict, source: str, conversion: Conversion, changes: list[str]) -> str:
    new = conversion.state_dict
    lines = [
        f'{old} -> {name} {tuple(new[name].shape)}' + ', reshaped' * (name in conversion.reshaped)
        for old, name in conversion.renamed.items()
        if args.list
    ]
    lines.append(
        f'{len(conversion.renamed)} tensors of {args.src} renamed, {len(conversion.reshaped)} of '
        'them reshaped (a scale per level)'
    )
    if conversion.added:
        lines.append(f'{len(conversion.added)} counters of BatchNorm added')
    dropped = [key for key in given if key != source]
    if conversion.dropped:
        dropped.append(f'{len(conversion.dropped)} counters of BatchNorm')
    lines.append(f'dropped: {", ".join(dropped) or "nothing"}')
    lines += [f'config: {change}' for change in changes]
    if args.to_cvpods:
        lines.append(f'written: {args.dst}')
    else:
        config = args.dst.with_suffix('.py')
        lines.append(f'written: {args.dst}, {config}')
        lines.append(f'test: python tools/test.py {config} {args.dst}')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    warnings.filterwarnings('ignore', category=UserWarning)  # mmengine's and mmdet's, of no use
    try:
        print(convert(parse_args(argv)))
    except (OSError, ValueError, TypeError, KeyError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 2
    return 0
