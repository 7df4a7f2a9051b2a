"""Turn Caltech Pedestrians' .vbb annotations into .odgt.

python tools/dataset_converters/caltech.py data/caltech/annotations data/caltech/test.odgt

Exit status: 0 if every record was written or left out as the source marks it, 1 if some were lost
(all are named), 2 if the conversion could not be done.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import caltech_records, convert


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='folder with set00/V000.vbb and so on')
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('--every', type=int, default=30, help='take one of every n frames')
    parser.add_argument(
        '--pattern',
        default='{set}_{video}_I{frame:05d}',
        help='name of a picture without extension; default: what dbExtract writes',
    )
    args = parser.parse_args()
    return convert(
        lambda tally: caltech_records(args.annotations, args.every, args.pattern, tally), args.out
    )


if __name__ == '__main__':
    sys.exit(main())
