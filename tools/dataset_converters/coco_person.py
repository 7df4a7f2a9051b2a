"""Turn the people of a COCO annotation file into .odgt; crowds become ignore regions.

    python tools/dataset_converters/coco_person.py \
        data/coco/annotations/instances_val2017.json data/coco/annotations/person_val2017.odgt

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

from mmdet_lla.datasets.coco_json import read_coco
from mmdet_lla.datasets.converters import coco_person_records, convert
from mmdet_lla.datasets.tally import Tally


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='COCO annotation file')
    parser.add_argument('out', help='.odgt file to write')
    parser.add_argument('--category', default='person', help='category to take')
    parser.add_argument('--keep-empty', action='store_true', help='keep pictures without people')
    args = parser.parse_args()

    def records(tally: Tally) -> Iterator[dict]:
        coco = read_coco(args.annotations)
        return coco_person_records(
            coco, args.category, args.keep_empty, tally, where=args.annotations
        )

    return convert(records, args.out)


if __name__ == '__main__':
    sys.exit(main())
