"""Turn CityPersons' MAT annotations into .odgt, or into the JSON its evaluation reads.

    python tools/dataset_converters/citypersons.py data/cityscapes/annotations/anno_val.mat \
        data/cityscapes/annotations/val_gt.json
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from tqdm import tqdm

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import citypersons_records, mat_to_coco
from mmdet_lla.datasets.odgt import write_odgt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('annotations', help='anno_train.mat or anno_val.mat')
    parser.add_argument('out', help='.odgt or .json file to write')
    parser.add_argument(
        '--person-classes', type=int, nargs='+', default=[1], help='classes that count as people'
    )
    args = parser.parse_args()
    if not args.out.endswith(('.odgt', '.json')):
        parser.error(f'out must end with .odgt or .json, got {args.out}')
    coco = mat_to_coco(args.annotations, person_classes=args.person_classes)
    if args.out.endswith('.json'):
        with open(args.out, 'w') as file:
            json.dump(coco, file)
        count = len(coco['images'])
    else:
        count = write_odgt(tqdm(citypersons_records(coco), unit=' pictures'), args.out)
    print(f'{count} pictures in {args.out}')


if __name__ == '__main__':
    main()
