"""Analyze the errors of a detector: their kinds, what each costs, and the best threshold.

  mmdet-lla analyze detections.pkl --ann-file annotation_val.odgt
  mmdet-lla analyze LLA=lla.pkl ATSS=atss.pkl --ann-file annotation_val.odgt

Writes report.html and errors.json. docs/guides/read-an-error-report.md explains them.
"""

import argparse
from pathlib import Path

from .options import CommandParser, find_img_dir, parse_count, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('analyze', __doc__)
    parser.add_argument(
        'detections',
        nargs='+',
        metavar='[NAME=]DETECTIONS',
        help='dump of `mmdet-lla test --out` (.pkl), .odgt, or COCO results (.json); the first is '
        'what others are compared with',
    )
    parser.add_shared('--ann-file', '--img-dir', '--out-dir', '--box')
    parser.add_argument(
        '--raw',
        metavar='FILE',
        help='detections before NMS of the first detector, as `mmdet-lla sweep-nms --raw-out` '
        'writes them (default: none)',
    )
    parser.add_argument(
        '--iou-thr', type=float, default=0.5, metavar='IOU', help='IoU of a true positive'
    )
    parser.add_shared('--score-thr', '--bootstrap')
    parser.add_alias('--draws', '--bootstrap')
    parser.add_argument(
        '--num-examples',
        type=parse_count,
        default=6,
        metavar='N',
        help='number of drawn examples per kind of error',
    )
    parser.add_alias('--number', '--num-examples')
    parser.add_argument(
        '--write-threshold',
        type=Path,
        metavar='CHECKPOINT',
        help='published checkpoint to store the best threshold by JI of the first detector in, '
        'for `mmdet-lla predict` (default: none)',
    )
    parser.add_shared('--person-class', '--quiet')
    return parser


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..analysis.errors.report import analyze, write_threshold
    from ..analysis.inputs import name_files

    if args.write_threshold and not args.write_threshold.is_file():
        raise FileNotFoundError(f'checkpoint not found: {args.write_threshold}')
    analyses = analyze(
        args.ann_file,
        name_files(args.detections),
        args.out_dir,
        img_dir=find_img_dir(args.img_dir, args.ann_file),
        raw=args.raw,
        box=args.box,
        person=args.person_class,
        iou_thr=args.iou_thr,
        score_thr=None if args.score_thr in (None, 'auto') else float(args.score_thr),
        num_samples=args.bootstrap,
        num_examples=args.num_examples,
        command=args.command_line,
        progress=lambda items: tqdm(items, desc='detectors', disable=len(items) == 1 or args.quiet),
    )
    for one in analyses:
        counts = {**one.errors.count_fps(), **one.errors.count_fns()}
        text = ', '.join(f'{name.replace("_", " ")} {count}' for name, count in counts.items())
        print(f'{one.name}, score threshold {one.errors.score_thr}: {text}')
    if args.write_threshold:
        threshold = analyses[0].best['JI']['threshold']
        path = write_threshold(args.write_threshold, threshold)
        print(f'threshold {threshold} written to {path}')
    print(f'written: {args.out_dir}/report.html and errors.json')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
