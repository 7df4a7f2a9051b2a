"""Turn MOTChallenge sequences into one .odgt file.

python tools/dataset_converters/mot.py data/MOT17/train.odgt data/MOT17/train/*-FRCNN --every 10
"""

import argparse
import importlib.util
import itertools
import sys
from pathlib import Path

from tqdm import tqdm

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import mot_records
from mmdet_lla.datasets.odgt import write_odgt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('sequences', nargs='+', help='folders with seqinfo.ini and gt/gt.txt')
    parser.add_argument('--root', help='folder that IDs start from; default: parent of a sequence')
    parser.add_argument('--every', type=int, default=1, help='take every n-th frame')
    parser.add_argument(
        '--min-visibility', type=float, default=0.0, help='ignore people of whom less is seen'
    )
    args = parser.parse_args()
    records = itertools.chain.from_iterable(
        mot_records(sequence, args.root, args.every, args.min_visibility)
        for sequence in args.sequences
    )
    count = write_odgt(tqdm(records, unit=' pictures'), args.out)
    print(f'{count} pictures in {args.out}')


if __name__ == '__main__':
    main()
