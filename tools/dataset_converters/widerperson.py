"""Turn a split of WiderPerson into .odgt.

python tools/dataset_converters/widerperson.py data/WiderPerson val data/WiderPerson/val.odgt
"""

import argparse

from tqdm import tqdm

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
