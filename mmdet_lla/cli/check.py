"""Check annotations and images of a dataset, and show how crowded they are.

  mmdet-lla check data/people                    # what `mmdet-lla convert` wrote
  mmdet-lla check data/CrowdHuman/annotation_train.odgt --plots train.png
  mmdet-lla check my_config.py                   # its files, class names and num_classes

Status 1 says that the dataset has problems, 2 that something could not be checked.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from .options import CommandParser, find_img_dir, parse_count, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('check', __doc__)
    parser.add_argument(
        'annotations',
        metavar='DATASET',
        help='directory with annotation_train.odgt and annotation_val.odgt, or one annotation '
        'file: .odgt, .json of COCO, .mat or .json of CityPersons; or a config (.py), of which '
        'only the files and classes of its dataloaders are checked',
    )
    parser.add_shared('--img-dir', '--box')
    parser.add_alias('--pictures', '--img-dir')
    parser.add_argument(
        '--suffix', default='.jpg', help='file extension that is added to the IDs of images'
    )
    parser.add_argument(
        '--headers-only',
        action='store_true',
        help='read only the headers of images, which is faster but finds less',
    )
    parser.add_argument(
        '--cache-dir', metavar='DIR', help='cache_dir setting of the dataset (default: none)'
    )
    parser.add_argument(
        '--show',
        type=parse_count,
        metavar='N',
        help='print at most this number of problems of each kind (default: all)',
    )
    parser.add_argument(
        '--plots', type=Path, metavar='FILE', help='image file for plots (default: none)'
    )
    parser.add_argument(
        '--report',
        type=Path,
        metavar='FILE',
        help='.json file for problems and statistics (default: none)',
    )
    parser.add_alias('--json', '--report')
    parser.add_shared('--quiet')
    return parser


def print_problems(problems: list, limit: int | None) -> None:
    """Print problems, at most ``limit`` of each kind, and their numbers."""
    shown: Counter = Counter()
    for problem in problems:
        shown[problem.kind] += 1
        if limit is None or shown[problem.kind] <= limit:
            print(problem)
    for kind, count in shown.most_common():
        print(f'{count} x {kind}')


def print_statistics(summary: dict, published: dict, title: str = 'Statistics') -> None:
    """Print the statistics of a dataset beside those of CrowdHuman."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption='CrowdHuman: training set, arXiv 1805.00123')
    table.add_column('')
    table.add_column('here', justify='right')
    table.add_column('CrowdHuman', justify='right')
    for name, value in summary.items():
        table.add_row(name, _number(value), _number(published[name]) if name in published else '')
    Console().print(table)


def _number(value: float) -> str:
    return f'{value:,}' if isinstance(value, int) else f'{value:,.2f}'


def find_annotation_files(path: str) -> list[Path]:
    """Return the annotation files of a dataset: one file, or those of a directory.

    Raises:
        FileNotFoundError: A directory has none.
    """
    root = Path(path)
    if not root.is_dir():
        return [root]
    files = sorted(root.glob('annotation_*.odgt'))
    if not files:
        raise FileNotFoundError(f'{path} has no annotation_train.odgt or annotation_val.odgt')
    return files


def check_file(file: Path, args: argparse.Namespace) -> dict:
    """Check one annotation file, print what was found, and return the report.

    Raises:
        ValueError: The file cannot be checked.
    """
    from ..datasets.inspection import inspect_dataset
    from ..datasets.statistics import CROWDHUMAN, compute_statistics, plot_statistics

    img_dir = find_img_dir(args.img_dir, str(file)) or file.parent
    try:
        found = inspect_dataset(
            str(file),
            str(img_dir),
            args.suffix,
            not args.headers_only,
            args.cache_dir,
            box=args.box,
        )
    except (OSError, ValueError) as error:
        raise ValueError(f'{file} cannot be checked: {error}') from error
    statistics = compute_statistics(found.records, found.sizes, args.box)
    summary = statistics.summarize()
    print_statistics(summary, CROWDHUMAN)
    print_problems(found.problems, args.show)
    if args.plots:
        plot_statistics(statistics, str(args.plots), file.name)
    return {
        'problems': [vars(problem) for problem in found.problems],
        'statistics': {key: float(value) for key, value in summary.items()},
    }


def check_config(path: str) -> int:
    """Check the files and classes of a config's dataloaders, and return the exit status."""
    from ..datasets.checks import check_config_data
    from ..named_configs import read_config

    cfg = read_config(path)
    try:
        check_config_data(cfg)
    except (FileNotFoundError, ValueError) as error:
        print(f'{path}: {error}')
        return 1
    print(f'no problems in the files and classes of {path}')
    return 0


def run(args: argparse.Namespace) -> int:
    from ..utils.files import atomic_write, check_outputs

    if args.annotations.endswith('.py'):
        return check_config(args.annotations)
    files = find_annotation_files(args.annotations)
    check_outputs([one for one in (args.plots, args.report) if one], files)
    if args.plots and len(files) > 1:
        raise ValueError('--plots draws one annotation file; name the file instead of a directory')
    reports = {}
    for file in files:
        if len(files) > 1:
            print(f'{file}:')
        reports[file.name] = check_file(file, args)
    if args.report:
        with atomic_write(args.report) as out:
            json.dump(reports if len(files) > 1 else reports[files[0].name], out, indent=1)
    problems = [one for report in reports.values() for one in report['problems']]
    print(f'{len(problems)} problems' if problems else 'no problems')
    for path in filter(None, (args.plots, args.report)):
        print(f'written: {path}')
    from ..datasets.inspection import UNCHECKED

    if any(one['kind'] == UNCHECKED for one in problems):
        return 2
    return 1 if problems else 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
