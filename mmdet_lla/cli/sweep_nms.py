"""Evaluate NMS, soft-NMS, caps and score thresholds after one pass of inference.

  mmdet-lla sweep-nms CONFIG --weights CHECKPOINT

Each setting gives what `mmdet-lla test` would give with it. Writes report.html and sweep.json.
docs/guides/tune-nms.md explains them.
"""

import argparse
import os
from pathlib import Path

from .options import (
    CommandParser,
    hush_mmengine,
    parse_count,
    read_cfg_options,
    run_command,
)


def build_parser() -> CommandParser:
    parser = CommandParser('sweep-nms', __doc__)
    parser.add_argument('config', metavar='CONFIG', help='config that names model and test set')
    parser.add_argument('checkpoint', nargs='?', help=argparse.SUPPRESS)
    parser.add_shared('--weights', '--out-dir')
    parser.add_argument(
        '--nms',
        type=float,
        nargs='*',
        default=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        metavar='IOU',
        help='IoU thresholds of NMS to evaluate',
    )
    parser.add_argument(
        '--soft',
        nargs='*',
        choices=('linear', 'gaussian'),
        default=('linear', 'gaussian'),
        help='methods of soft-NMS to evaluate',
    )
    parser.add_argument(
        '--max-per-img',
        type=parse_count,
        nargs='*',
        default=(100, 300, 500),
        metavar='N',
        help='maximum numbers of detections per image to evaluate',
    )
    parser.add_argument(
        '--score-thrs',
        type=float,
        nargs='*',
        default=(0.1,),
        metavar='SCORE',
        help='values of test_cfg.score_thr to evaluate',
    )
    parser.add_alias('--score-thr', '--score-thrs')
    parser.add_argument(
        '--plain-product',
        action='store_true',
        help='also evaluate LLAHead with the score cls * iou instead of its root',
    )
    parser.add_shared('--bootstrap')
    parser.add_alias('--draws', '--bootstrap')
    parser.add_argument(
        '--raw-out',
        type=Path,
        metavar='FILE',
        help='file for the detections before NMS, which `mmdet-lla analyze --raw` reads (default: '
        'none)',
    )
    parser.add_shared('--device', '--threads', '--cfg-options', '--quiet')
    return parser


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..analysis.nms import (
        collect_raw_predictions,
        evaluate_settings,
        find_best_trials,
        plan_settings,
    )
    from ..analysis.nms.report import format_text, write_report
    from ..analysis.test_sets import TestSet
    from ..inference.loading import resolve_device
    from ..named_configs import read_config
    from ..utils.files import check_outputs

    hush_mmengine()
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    weights = args.weights or args.checkpoint
    if weights is None:
        raise ValueError(f'{args.config} is a config; name its checkpoint with --weights')
    if not Path(weights).is_file():
        raise FileNotFoundError(f'checkpoint not found: {weights}')
    cfg = read_config(args.config)
    cfg.merge_from_dict(read_cfg_options(args.cfg_options))
    if args.plain_product and cfg.model.get('bbox_head', {}).get('type') != 'LLAHead':
        raise ValueError('--plain-product needs LLAHead, which the config does not use')
    outputs = [args.out_dir / 'sweep.json', args.out_dir / 'report.html']
    outputs += [args.raw_out] if args.raw_out else []
    check_outputs(outputs, [weights, cfg.filename])
    settings = plan_settings(
        cfg.model.get('test_cfg') or {},
        args.nms,
        args.soft,
        args.max_per_img,
        args.score_thrs,
        args.plain_product,
    )
    test_set = TestSet(cfg)
    raw = collect_raw_predictions(
        cfg,
        weights,
        min(args.score_thrs, default=None),
        resolve_device(args.device),
        progress=lambda items: tqdm(items, desc='inference', unit='batch'),
        person=test_set.person,
    )
    if args.raw_out:
        args.raw_out.parent.mkdir(parents=True, exist_ok=True)
        raw.write(args.raw_out)
    trials = evaluate_settings(raw, settings, test_set, lambda items: tqdm(items, desc='settings'))
    bests = find_best_trials(trials, args.bootstrap)
    write_report(args.out_dir, trials, bests, Path(args.config).stem, args.command_line)
    print(format_text(trials, bests))
    print(f'written: {args.out_dir}/report.html and sweep.json')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
