"""Turn a split of WiderPerson into .odgt.

python tools/dataset_converters/widerperson.py data/WiderPerson val data/WiderPerson/val.odgt
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from tqdm import tqdm

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import widerperson_records
from mmdet_lla.datasets.odgt import write_odgt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('root', help='folder with Annotations, Images, train.txt, val.txt')
    parser.add_argument('split', help='train or val')
    parser.add_argument('out', help='.odgt file to write')
    args = parser.parse_args()
    count = write_odgt(tqdm(widerperson_records(args.root, args.split), unit=' pictures'), args.out)
    print(f'{count} pictures in {args.out}')


if __name__ == '__main__':
    main()
