"""Turn a split of WiderPerson into .odgt.

python tools/dataset_converters/widerperson.py data/WiderPerson val data/WiderPerson/val.odgt

Exit status: 0 if every record was written or left out as the source marks it, 1 if some were lost
(all are named), 2 if the conversion could not be done.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import convert, widerperson_records


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', help='folder with Annotations, Images, train.txt, val.txt')
    parser.add_argument('split', help='train or val')
    parser.add_argument('out', help='.odgt file to write')
    args = parser.parse_args()
    return convert(lambda tally: widerperson_records(args.root, args.split, tally), args.out)


if __name__ == '__main__':
    sys.exit(main())
