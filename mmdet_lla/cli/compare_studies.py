"""Compare several studies of the same configs on different data, as tables and one figure.

  mmdet-lla compare-studies street=work_dirs/study/street dense=work_dirs/study/dense \\
      --figure studies.png
"""

import argparse
from pathlib import Path

from .options import CommandParser, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('compare-studies', __doc__)
    parser.add_argument(
        'studies', nargs='+', metavar='[NAME=]DIR', help='output directory of `mmdet-lla ablate`'
    )
    parser.add_argument(
        '--figure',
        type=Path,
        metavar='FILE',
        help='image file (.png, .svg, .pdf) for the differences to the baseline (default: none)',
    )
    return parser


def run(args: argparse.Namespace) -> int:
    from ..ablation import plots
    from ..ablation.results import markdown_table, read_comparisons
    from ..analysis.inputs import name_files
    from ..analysis.test_sets import METRICS
    from ..utils.files import check_outputs

    named = name_files(args.studies)
    check_outputs([args.figure] if args.figure else [], named.values())
    studies = {name: read_comparisons(Path(path)) for name, path in named.items()}
    for name, comparisons in studies.items():
        print(f'### {name}\n\n{markdown_table(comparisons)}\n')
    if args.figure:
        plots.studies(studies, METRICS).savefig(args.figure, dpi=150)
        print(f'written: {args.figure}')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
