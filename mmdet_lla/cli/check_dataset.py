"""Check an annotation file and its pictures, and show how crowded they are.

    python tools/check_dataset.py data/CrowdHuman/annotation_train.odgt --plots train.png

Exit status: 0 if nothing is wrong, 1 if something is, 2 if the check could not be done, of a single
picture too.
"""

import argparse
import json
import os.path as osp
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from ..datasets.inspection import UNCHECKED, Problem, inspect_dataset
from ..datasets.odgt import BOXES
from ..datasets.statistics import CROWDHUMAN, compute_statistics, plot_statistics
from ..datasets.text import open_output


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='.odgt; or .mat or .json of CityPersons, .json of COCO')
    parser.add_argument(
        '--pictures', help='picture folder; default: Images beside the annotations, else there'
    )
    parser.add_argument(
        '--box',
        choices=tuple(BOXES),
        default='body',
        help="the dataset's box, which every annotation must have (%(default)s)",
    )
    parser.add_argument('--suffix', default='.jpg', help='extension added to IDs (%(default)s)')
    parser.add_argument(
        '--headers-only', action='store_true', help='do not decode pictures: quicker, finds less'
    )
    parser.add_argument('--cache-dir', help="the dataset's cache_dir, if it has one")
    parser.add_argument('--show', type=int, help='show at most so many problems of each kind')
    parser.add_argument('--plots', help='picture file to draw the statistics into')
    parser.add_argument('--json', help='file to write problems and statistics into')
    return parser.parse_args(argv)


def print_problems(problems: list[Problem], limit: 'int | None') -> None:
    shown = Counter()
    for problem in problems:
        shown[problem.kind] += 1
        if limit is None or shown[problem.kind] <= limit:
            print(problem)
    for kind, count in shown.most_common():
        print(f'{count} x {kind}')


def print_statistics(summary: dict) -> None:
    table = Table(title='Statistics', caption='CrowdHuman: training set, arXiv 1805.00123')
    table.add_column('')
    table.add_column('here', justify='right')
    table.add_column('CrowdHuman', justify='right')
    for name, value in summary.items():
        published = CROWDHUMAN.get(name)
        table.add_row(name, _number(value), '' if published is None else _number(published))
    Console().print(table)


def _number(value: float) -> str:
    return f'{value:,}' if isinstance(value, int) else f'{value:,.2f}'


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    beside = osp.dirname(args.annotations)
    folder = args.pictures
    if folder is None:
        images = osp.join(beside, 'Images')
        folder = images if osp.isdir(images) else beside
    try:
        found = inspect_dataset(
            args.annotations,
            folder,
            args.suffix,
            not args.headers_only,
            args.cache_dir,
            box=args.box,
        )
    except (OSError, ValueError) as error:
        print(f'{args.annotations} cannot be checked: {error}', file=sys.stderr)
        return 2
    statistics = compute_statistics(found.records, found.sizes, args.box)
    print_statistics(statistics.summarize())
    print_problems(found.problems, args.show)
    if args.plots:
        plot_statistics(statistics, args.plots, osp.basename(args.annotations))
    if args.json:
        with open_output(args.json) as file:
            report = {
                'problems': [vars(problem) for problem in found.problems],
                'statistics': {key: float(value) for key, value in statistics.summarize().items()},
            }
            json.dump(report, file, indent=1)
    total = len(found.problems)
    print(f'{total} problems' if total else 'no problems')
    if any(problem.kind == UNCHECKED for problem in found.problems):
        return 2
    return 1 if total else 0
