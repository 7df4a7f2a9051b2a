"""One set of detections by the rules of CrowdHuman, mmdet, Caltech, CityPersons, VOC and COCO.

Says which rule makes which difference, and writes report.html, one file with everything in it, and
comparison.json. docs/errors.md says more.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'detections',
        metavar='DETECTIONS',
        help='what tools/test.py --out wrote (.pkl), .odgt, or COCO results (.json); NAME=FILE '
        'gives a name',
    )
    parser.add_argument('--ann-file', required=True, help="CrowdHuman's .odgt with the people")
    parser.add_argument(
        '--img-dir', type=Path, help='folder of the pictures, for sizes that no file tells'
    )
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/metrics'))
    parser.add_argument('--box', choices=('body', 'visible', 'head'), default='body')
    parser.add_argument(
        '--write-coco',
        action='store_true',
        help='also write ground_truth.json and results.json, which tools for COCO read',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    from tqdm import tqdm

    from ..analysis.errors import files
    from ..analysis.protocols import comparison, report, toolkits
    from ..evaluation.annotations import load_odgt
    from ..evaluation.crowd_metric import EVAL_MODES

    try:
        annotations = load_odgt(args.ann_file, EVAL_MODES[args.box])
        name, path = files.split_name(args.detections)
        sizes = files.sizes_of(annotations, args.img_dir) if args.img_dir else None
        task = toolkits.Task(
            annotations, files.beside(annotations, path, sizes), args.ann_file, args.box
        )
        args.out_dir.mkdir(parents=True, exist_ok=True)
        if args.write_coco:
            for file, content in toolkits.coco_files(task).items():
                (args.out_dir / file).write_text(json.dumps(content), encoding='utf-8')
        rows = comparison.compare(task, watch=lambda some: tqdm(some, desc='evaluations'))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    report.write_json(args.out_dir / 'comparison.json', rows)
    command = shlex.join(['python', 'tools/compare_metrics.py', *argv])
    report.write_report(args.out_dir / 'report.html', rows, task, name, command)
    print(report.as_text(rows))
    print(f'{args.out_dir}/report.html and comparison.json say the same')
    return 0
