"""Turn the people of a COCO annotation file into .odgt; crowds become ignore regions.

    python tools/dataset_converters/coco_person.py \
        data/coco/annotations/instances_val2017.json data/coco/annotations/person_val2017.odgt
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from tqdm import tqdm

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import coco_person_records
from mmdet_lla.datasets.odgt import write_odgt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('annotations', help='COCO annotation file')
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('--category', default='person', help='category to take')
    parser.add_argument('--keep-empty', action='store_true', help='keep pictures without people')
    args = parser.parse_args()
    with open(args.annotations) as file:
        coco = json.load(file)
    records = coco_person_records(coco, args.category, args.keep_empty)
    count = write_odgt(tqdm(records, unit=' pictures'), args.out)
    print(f'{count} pictures in {args.out}')


if __name__ == '__main__':
    main()
