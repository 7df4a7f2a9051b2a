"""Tables and one figure of several studies of the same configs on other data.

Example:
    python tools/compare_studies.py street=work_dirs/study/street dense=work_dirs/study/dense \
        --figure studies.png
"""

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'studies', nargs='+', metavar='[NAME=]DIR', help='work directories of tools/ablate.py'
    )
    parser.add_argument(
        '--figure', type=Path, help='draw the differences to the baseline here (.png, .svg, .pdf)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from ..ablation import plots
    from ..ablation.results import markdown_table, read_comparisons
    from ..analysis.inputs import name_files
    from ..analysis.test_sets import METRICS
    from ..utils.files import check_outputs

    try:
        named = name_files(args.studies)
        check_outputs([args.figure] if args.figure else [], named.values())
        studies = {name: read_comparisons(Path(path)) for name, path in named.items()}
        for name, comparisons in studies.items():
            print(f'### {name}\n\n{markdown_table(comparisons)}\n')
        if args.figure:
            plots.studies(studies, METRICS).savefig(args.figure, dpi=150)
            print(f'drawn: {args.figure}', file=sys.stderr)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    return 0
