"""What is wrong with a detector: every error by its kind, what each costs, the best threshold.

Writes report.html, one file with everything in it, and errors.json. docs/errors.md says more.
"""

import argparse
import shlex
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'detections',
        nargs='+',
        metavar='DETECTIONS',
        help='what tools/test.py --out wrote (.pkl), .odgt, or COCO results (.json); NAME=FILE '
        'gives a name; the first is what others are compared with',
    )
    parser.add_argument('--ann-file', required=True, help="CrowdHuman's .odgt with the people")
    parser.add_argument('--img-dir', type=Path, help='folder of the pictures, to show the worst')
    parser.add_argument('--raw', help='detections before NMS, of the first detector')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/errors'))
    parser.add_argument('--iou-thr', type=float, default=0.5)
    parser.add_argument('--score-thr', type=float, help='shown from here (default: the best by JI)')
    parser.add_argument('--box', choices=('body', 'visible', 'head'), default='body')
    parser.add_argument('--draws', type=int, default=50, help='of pictures, behind the intervals')
    parser.add_argument('--number', type=int, default=6, help='pictures of each kind')
    parser.add_argument(
        '--write-threshold',
        type=Path,
        metavar='CHECKPOINT',
        help='keep the best threshold of the first detector by JI in this checkpoint, which '
        'tools/predict.py --threshold auto uses',
    )
    parser.add_argument(
        '--person-class',
        type=int,
        metavar='ID',
        help='class of people in the detections (default: category 1 of COCO results, label 0 of '
        '.pkl files); others are left out',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    from tqdm import tqdm

    from ..analysis.errors.report import analyze, write_threshold
    from ..analysis.inputs import name_files

    try:
        if args.write_threshold and not args.write_threshold.is_file():
            raise FileNotFoundError(f'checkpoint not found: {args.write_threshold}')
        analyses = analyze(
            args.ann_file,
            name_files(args.detections),
            args.out_dir,
            img_dir=args.img_dir,
            raw=args.raw,
            box=args.box,
            person=args.person_class,
            iou_thr=args.iou_thr,
            score_thr=args.score_thr,
            num_samples=args.draws,
            num_examples=args.number,
            command=shlex.join(['mmdet-lla', 'analyze', *argv]),
            progress=lambda items: tqdm(items, desc='detectors', disable=len(items) == 1),
        )
        written = None
        if args.write_threshold:
            threshold = analyses[0].best['JI']['threshold']
            written = write_threshold(args.write_threshold, threshold)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for one in analyses:
        counts = {**one.errors.count_fps(), **one.errors.count_fns()}
        text = ', '.join(f'{name.replace("_", " ")} {count}' for name, count in counts.items())
        print(f'{one.name}, score threshold {one.errors.score_thr}: {text}')
    if written:
        print(f'Threshold {threshold} written to {written}')
    print(f'Report: {args.out_dir}/report.html, data: {args.out_dir}/errors.json')
    return 0
