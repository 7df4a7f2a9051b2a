"""Turn CityPersons' MAT annotations into .odgt, or into the JSON its evaluation reads.

    python tools/dataset_converters/citypersons.py data/cityscapes/annotations/anno_val.mat \
        data/cityscapes/annotations/val_gt.json

Exit status: 0 if every record was written or left out as the source marks it, 1 if some were lost
(all are named), 2 if the conversion could not be done.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

if importlib.util.find_spec('mmdet_lla') is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdet_lla.datasets.converters import account, citypersons_records, convert
from mmdet_lla.datasets.converters.citypersons import open_citypersons, sound_coco
from mmdet_lla.datasets.tally import Tally
from mmdet_lla.datasets.text import replacing


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='anno_train.mat or anno_val.mat')
    parser.add_argument('out', help='.odgt or .json file to write')
    parser.add_argument(
        '--person-classes', type=int, nargs='+', default=[1], help='classes that count as people'
    )
    args = parser.parse_args()
    if not args.out.endswith(('.odgt', '.json')):
        parser.error(f'out must end with .odgt or .json, got {args.out}')

    def opened(tally: Tally) -> dict:
        return open_citypersons(args.annotations, None, args.person_classes, tally)

    if args.out.endswith('.odgt'):
        return convert(
            lambda tally: citypersons_records(opened(tally), tally, args.annotations), args.out
        )

    def write(tally: Tally) -> str:
        coco = sound_coco(opened(tally), tally, args.annotations)
        with replacing(args.out) as file:
            json.dump(coco, file)
        return f'{len(coco["images"])} pictures, {tally.written} annotations'

    return account(write, args.out)


if __name__ == '__main__':
    sys.exit(main())
