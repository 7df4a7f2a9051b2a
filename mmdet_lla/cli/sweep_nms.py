"""NMS, soft-NMS, caps and score thresholds tried on one pass of inference over the test set.

Every setting gives what tools/test.py would give with it. Writes report.html, one file with
everything in it, and sweep.json. docs/errors.md says more.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from mmengine.config import DictAction

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/nms'))
    parser.add_argument('--nms', type=float, nargs='*', default=THRESHOLDS, help='IoU thresholds')
    parser.add_argument(
        '--soft', nargs='*', choices=('linear', 'gaussian'), default=('linear', 'gaussian')
    )
    parser.add_argument(
        '--max-per-img', type=int, nargs='*', default=(100, 300, 500), help='caps of a picture'
    )
    parser.add_argument('--score-thr', type=float, nargs='*', default=(0.1,), help='of the class')
    parser.add_argument(
        '--plain-product', action='store_true', help='also LLAHead with scores cls * iou, no root'
    )
    parser.add_argument('--draws', type=int, default=50, help='of pictures, behind the intervals')
    parser.add_argument(
        '--raw-out', type=Path, help='keep what comes before NMS, for tools/analyze.py --raw'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as in tools/test.py')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    from tqdm import tqdm

    from ..analysis.nms import (
        collect_raw_predictions,
        evaluate_settings,
        find_best_trials,
        plan_settings,
    )
    from ..analysis.nms.report import format_text, write_report
    from ..analysis.test_sets import TestSet
    from ..named_configs import read_config
    from ..utils.files import check_outputs

    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    try:
        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f'checkpoint not found: {args.checkpoint}')
        cfg = read_config(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        if args.plain_product and cfg.model.get('bbox_head', {}).get('type') != 'LLAHead':
            raise ValueError('--plain-product needs LLAHead, which the config does not use')
        outputs = [args.out_dir / 'sweep.json', args.out_dir / 'report.html']
        outputs += [args.raw_out] if args.raw_out else []
        check_outputs(outputs, [args.checkpoint, cfg.filename])
        settings = plan_settings(
            cfg.model.get('test_cfg') or {},
            args.nms,
            args.soft,
            args.max_per_img,
            args.score_thr,
            args.plain_product,
        )
        test_set = TestSet(cfg)
        raw = collect_raw_predictions(
            cfg,
            args.checkpoint,
            min(args.score_thr, default=None),
            args.device,
            progress=lambda items: tqdm(items, desc='inference', unit='batch'),
            person=test_set.person,
        )
        if args.raw_out:
            args.raw_out.parent.mkdir(parents=True, exist_ok=True)
            raw.write(args.raw_out)
        trials = evaluate_settings(
            raw, settings, test_set, lambda items: tqdm(items, desc='settings')
        )
        bests = find_best_trials(trials, args.draws)
        command = shlex.join(['mmdet-lla', 'sweep_nms', *argv])
        write_report(args.out_dir, trials, bests, Path(args.config).stem, command)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(format_text(trials, bests))
    print(f'Report: {args.out_dir}/report.html, data: {args.out_dir}/sweep.json')
    return 0
