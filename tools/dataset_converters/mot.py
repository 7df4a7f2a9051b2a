"""Turn MOTChallenge sequences into one .odgt file.

python tools/dataset_converters/mot.py data/MOT17/train.odgt data/MOT17/train/*-FRCNN --every 10

Exit status: 0 if every record was written or left out as the source marks it, 1 if some were lost
(all are named), 2 if the conversion could not be done.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import convert, mot_records
from mmdet_lla.datasets.tally import Tally


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('sequences', nargs='+', help='folders with gt/gt.txt and img1')
    parser.add_argument('--root', help='folder that IDs start from; default: parent of a sequence')
    parser.add_argument('--every', type=int, default=1, help='take every n-th frame')
    parser.add_argument(
        '--min-visibility', type=float, default=0.0, help='ignore people of whom less is seen'
    )
    args = parser.parse_args()

    def records(tally: Tally) -> Iterator[dict]:
        for sequence in args.sequences:
            yield from mot_records(sequence, args.root, args.every, args.min_visibility, tally)

    return convert(records, args.out)


if __name__ == '__main__':
    sys.exit(main())
