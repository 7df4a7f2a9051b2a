"""Convert a checkpoint of cvpods (LLA.FCOS, FCOS, ATSS) for mmdet, or back.

  mmdet-lla convert-checkpoint model_final.pth lla.pth \\
      --config configs/lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py
  mmdet-lla test lla.py lla.pth

The config that belongs to the new checkpoint is written beside it, with the suffix .py. Nothing but
tensors and plain values is read. If a tensor has no place, nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .options import CommandParser, read_cfg_options, run_command

if TYPE_CHECKING:
    from ..cvpods import Conversion


def build_parser() -> CommandParser:
    parser = CommandParser('convert-checkpoint', __doc__)
    parser.add_argument('src', metavar='SOURCE', type=Path, help='checkpoint to read')
    parser.add_argument('dst', metavar='OUT', type=Path, help='checkpoint to write, named *.pth')
    parser.add_argument(
        '--config',
        required=True,
        metavar='CONFIG',
        help='config of the model, with LLAHead on points or FCOSHead',
    )
    parser.add_argument(
        '--prior-offset',
        type=float,
        choices=(0, 0.5),
        help='position of priors in their cell, required where the weights do not reveal it '
        '(default: found out)',
    )
    parser.add_argument(
        '--to-cvpods', action='store_true', help='convert a checkpoint of mmdet to cvpods'
    )
    parser.add_argument('--list', action='store_true', help='print the new name of each tensor')
    parser.add_shared('--cfg-options')
    return parser


def convert(args: argparse.Namespace) -> str:
    """Convert the checkpoint and return the report.

    Raises:
        ValueError: The checkpoint does not belong to the config.
    """
    import torch

    from ..cvpods import (
        adapt_config,
        build_model,
        make_checkpoint,
        to_cvpods,
        to_mmdet,
    )
    from ..named_configs import read_config
    from ..plain_checkpoints import read_weights
    from ..utils.files import atomic_path, atomic_write, check_outputs

    config = args.dst.with_suffix('.py')
    if args.dst.suffix != '.pth':
        raise ValueError(f'OUT is {args.dst}, expected a name that ends in .pth')
    outputs = [args.dst] if args.to_cvpods else [args.dst, config]
    check_outputs(outputs, [args.src, args.config])
    cfg = read_config(args.config)
    cfg.merge_from_dict(read_cfg_options(args.cfg_options))
    source, target = ('state_dict', 'model') if args.to_cvpods else ('model', 'state_dict')
    given = read_weights(args.src, source)
    changes = []
    if args.to_cvpods:
        conversion = to_cvpods(given[source], build_model(cfg))
        checkpoint = {target: conversion.state_dict}
    else:
        cfg, changes = adapt_config(cfg, given[source], args.prior_offset)
        conversion = to_mmdet(given[source], build_model(cfg))
        checkpoint = make_checkpoint(conversion, cfg, f'{args.src.name} of cvpods')
        with atomic_write(config) as file:
            file.write(cfg.pretty_text)
    with atomic_path(args.dst) as path:
        torch.save(checkpoint, path)
    return format_report(args, given, source, conversion, changes)


def format_report(
    args: argparse.Namespace, given: dict, source: str, conversion: Conversion, changes: list[str]
) -> str:
    """Return one line per fact about the conversion."""
    new = conversion.state_dict
    lines = [
        f'{old} -> {name} {tuple(new[name].shape)}' + ', reshaped' * (name in conversion.reshaped)
        for old, name in conversion.renamed.items()
        if args.list
    ]
    lines.append(
        f'{len(conversion.renamed)} tensors of {args.src} renamed, {len(conversion.reshaped)} of '
        'them reshaped (one scale per level)'
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
        lines.append(f'test it: mmdet-lla test {config} {args.dst}')
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> int:
    try:
        print(convert(args))
    except (TypeError, KeyError) as error:  # of a checkpoint or config with other content
        raise ValueError(f'{type(error).__name__}: {error}') from error
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
