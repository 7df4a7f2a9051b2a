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
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    from tqdm import tqdm

    from ..analysis.errors import files, pictures, report
    from ..evaluation.annotations import load_odgt
    from ..evaluation.crowd_metric import EVAL_MODES

    try:
        annotations = load_odgt(args.ann_file, EVAL_MODES[args.box])
        named = [files.split_name(text) for text in args.detections]
        raw = files.beside(annotations, args.raw) if args.raw else None
        found = {name: files.beside(annotations, path) for name, path in named}
        find = files.picture_finder(args.img_dir) if args.img_dir else None
        analyses, worst, whole = [], {}, {}
        for name, detections in tqdm(found.items(), desc='detectors', disable=len(found) == 1):
            one = report.analyze(
                name,
                annotations,
                detections,
                args.iou_thr,
                args.score_thr,
                raw if not analyses else None,
                args.draws,
            )
            analyses.append(one)
            if find:
                worst[name] = pictures.worst(one.errors, annotations, detections, find, args.number)
                costly = pictures.most_costly(one.errors)
                whole[name] = pictures.draw_costly(
                    costly, one.errors, annotations, detections, find
                )
        args.out_dir.mkdir(parents=True, exist_ok=True)
        report.write_json(args.out_dir / 'errors.json', analyses)
        report.write_report(
            args.out_dir / 'report.html',
            analyses,
            report.price_differences(analyses),
            worst,
            whole,
            shlex.join(['python', 'tools/analyze.py', *argv]),
        )
        if args.write_threshold:
            files.write_threshold(args.write_threshold, analyses[0].best['JI']['threshold'])
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for one in analyses:
        counts = {**one.errors.alarm_counts(), **one.errors.miss_counts()}
        text = ', '.join(f'{kind} {count}' for kind, count in counts.items())
        print(f'{one.name}, shown from a score of {one.errors.score_thr}: {text}')
    print(f'{args.out_dir}/report.html and errors.json tell the rest')
    return 0
