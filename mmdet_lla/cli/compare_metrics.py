"""Evaluate one set of detections by the rules of six benchmarks and explain the differences.

  mmdet-lla compare-metrics detections.pkl --ann-file annotation_val.odgt

The rules are those of CrowdHuman, mmdet, Caltech, CityPersons, VOC and COCO. Writes report.html and
comparison.json. docs/guides/compare-protocols.md explains them.
"""

import argparse
import json

from .options import CommandParser, find_img_dir, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('compare-metrics', __doc__)
    parser.add_argument(
        'detections',
        metavar='[NAME=]DETECTIONS',
        help='dump of `mmdet-lla test --out` (.pkl), .odgt, or COCO results (.json)',
    )
    parser.add_shared('--ann-file', '--img-dir', '--out-dir', '--box')
    parser.add_argument(
        '--write-coco',
        action='store_true',
        help='also write ground_truth.json and results.json, for tools that read COCO',
    )
    parser.add_shared('--person-class', '--quiet')
    return parser


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..analysis.inputs import name_files, read_aligned_detections, read_image_sizes
    from ..analysis.protocols import Task, compare
    from ..analysis.protocols.report import format_text, write_report
    from ..analysis.protocols.toolkits import create_coco_files
    from ..evaluation.annotations import BOX_KEYS, load_odgt
    from ..utils.files import atomic_write, check_outputs

    names = ['comparison.json', 'report.html']
    names += ['ground_truth.json', 'results.json'] if args.write_coco else []
    ((name, path),) = name_files([args.detections]).items()
    check_outputs([args.out_dir / one for one in names], [args.ann_file, path])
    annotations = load_odgt(args.ann_file, BOX_KEYS[args.box])
    img_dir = find_img_dir(args.img_dir, args.ann_file)
    sizes = read_image_sizes(annotations, img_dir) if img_dir else None
    detections = read_aligned_detections(annotations, path, sizes, args.person_class)
    task = Task(annotations, detections, args.ann_file, args.box)
    rows = compare(task, progress=lambda items: tqdm(items, desc='evaluations'))
    write_report(args.out_dir, rows, task, name, args.command_line)
    if args.write_coco:
        for file_name, content in create_coco_files(task).items():
            with atomic_write(args.out_dir / file_name) as file:
                json.dump(content, file)
    print(format_text(rows))
    print(f'written: {args.out_dir}/report.html and comparison.json')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
