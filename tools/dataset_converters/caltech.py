"""Turn Caltech Pedestrians' .vbb annotations into .odgt.

python tools/dataset_converters/caltech.py data/caltech/annotations data/caltech/test.odgt
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from tqdm import tqdm

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import caltech_records
from mmdet_lla.datasets.odgt import write_odgt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('annotations', help='folder with set00/V000.vbb and so on')
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('--every', type=int, default=30, help='take one of every n frames')
    parser.add_argument(
        '--pattern',
        default='{set}_{video}_I{frame:05d}',
        help='name of a picture without extension; default: what dbExtract writes',
    )
    args = parser.parse_args()
    records = caltech_records(args.annotations, args.every, args.pattern)
    count = write_odgt(tqdm(records, unit=' pictures'), args.out)
    print(f'{count} pictures in {args.out}')


if __name__ == '__main__':
    main()
