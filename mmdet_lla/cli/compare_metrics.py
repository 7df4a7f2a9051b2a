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

    from ..analysis.inputs import name_files, read_aligned_detections, read_image_sizes
    from ..analysis.protocols import Task, compare
    from ..analysis.protocols.report import format_text, write_report
    from ..analysis.protocols.toolkits import create_coco_files
    from ..evaluation.annotations import BOX_KEYS, load_odgt
    from ..utils.files import atomic_write, check_outputs

    names = ['comparison.json', 'report.html']
    names += ['ground_truth.json', 'results.json'] if args.write_coco else []
    try:
        ((name, path),) = name_files([args.detections]).items()
        check_outputs([args.out_dir / one for one in names], [args.ann_file, path])
        annotations = load_odgt(args.ann_file, BOX_KEYS[args.box])
        sizes = read_image_sizes(annotations, args.img_dir) if args.img_dir else None
        detections = read_aligned_detections(annotations, path, sizes, args.person_class)
        task = Task(annotations, detections, args.ann_file, args.box)
        rows = compare(task, progress=lambda items: tqdm(items, desc='evaluations'))
        command = shlex.join(['mmdet-lla', 'compare_metrics', *argv])
        write_report(args.out_dir, rows, task, name, command)
        if args.write_coco:
            for file_name, content in create_coco_files(task).items():
                with atomic_write(args.out_dir / file_name) as file:
                    json.dump(content, file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(format_text(rows))
    print(f'Report: {args.out_dir}/report.html, data: {args.out_dir}/comparison.json')
    return 0
