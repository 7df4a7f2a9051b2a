"""Turn the annotations of a dataset into .odgt, the format of CrowdHuman.

    mmdet-lla convert mot data/MOT17/train.odgt data/MOT17/train/*-FRCNN --every 10

Exit status: 0 if every record was written or left out as the source marks it, 1 if some were lost
(all are named), 2 if the conversion could not be done.
"""

import argparse
import json
from collections.abc import Iterator


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmdet-lla convert',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')

    caltech = formats.add_parser('caltech', help="Caltech Pedestrians' .vbb annotations")
    caltech.add_argument('annotations', help='folder with set00/V000.vbb and so on')
    caltech.add_argument('out', help='.odgt file to write')
    caltech.add_argument('--every', type=int, default=30, help='take one of every n frames')
    caltech.add_argument(
        '--pattern',
        default='{set}_{video}_I{frame:05d}',
        help='name of a picture without extension; default: what dbExtract writes',
    )
    caltech.set_defaults(convert=convert_caltech)

    citypersons = formats.add_parser(
        'citypersons', help="CityPersons' MAT annotations, also to the JSON its evaluation reads"
    )
    citypersons.add_argument('annotations', help='anno_train.mat or anno_val.mat')
    citypersons.add_argument('out', help='.odgt or .json file to write')
    citypersons.add_argument(
        '--person-classes', type=int, nargs='+', default=[1], help='classes that count as people'
    )
    citypersons.set_defaults(convert=convert_citypersons)

    coco_person = formats.add_parser(
        'coco_person', help='the people of a COCO file; crowds become ignore regions'
    )
    coco_person.add_argument('annotations', help='COCO annotation file')
    coco_person.add_argument('out', help='.odgt file to write')
    coco_person.add_argument('--category', default='person', help='category to take')
    coco_person.add_argument(
        '--keep-empty', action='store_true', help='keep pictures without people'
    )
    coco_person.set_defaults(convert=convert_coco_person)

    mot = formats.add_parser('mot', help='MOTChallenge sequences, into one file')
    mot.add_argument('out', help='.odgt file to write')
    mot.add_argument('sequences', nargs='+', help='folders with gt/gt.txt and img1')
    mot.add_argument('--root', help='folder that IDs start from; default: parent of a sequence')
    mot.add_argument('--every', type=int, default=1, help='take every n-th frame')
    mot.add_argument(
        '--min-visibility', type=float, default=0.0, help='ignore people of whom less is seen'
    )
    mot.set_defaults(convert=convert_mot)

    widerperson = formats.add_parser('widerperson', help='a split of WiderPerson')
    widerperson.add_argument('root', help='folder with Annotations, Images, train.txt, val.txt')
    widerperson.add_argument('split', help='train or val')
    widerperson.add_argument('out', help='.odgt file to write')
    widerperson.set_defaults(convert=convert_widerperson)

    args = parser.parse_args(argv)
    if args.format == 'citypersons' and not args.out.endswith(('.odgt', '.json')):
        parser.error(f'out must end with .odgt or .json, got {args.out}')
    return args


def convert_caltech(args: argparse.Namespace) -> int:
    from ..datasets.converters import caltech_records, convert

    return convert(
        lambda tally: caltech_records(args.annotations, args.every, args.pattern, tally), args.out
    )


def convert_citypersons(args: argparse.Namespace) -> int:
    from ..datasets.converters import account, citypersons_records, convert
    from ..datasets.converters.citypersons import open_citypersons, sound_coco
    from ..datasets.text import replacing

    def opened(tally) -> dict:
        return open_citypersons(args.annotations, None, args.person_classes, tally)

    if args.out.endswith('.odgt'):
        return convert(
            lambda tally: citypersons_records(opened(tally), tally, args.annotations), args.out
        )

    def write(tally) -> str:
        coco = sound_coco(opened(tally), tally, args.annotations)
        with replacing(args.out) as file:
            json.dump(coco, file)
        return f'{len(coco["images"])} pictures, {tally.written} annotations'

    return account(write, args.out)


def convert_coco_person(args: argparse.Namespace) -> int:
    from ..datasets.coco_json import read_coco
    from ..datasets.converters import coco_person_records, convert

    def records(tally) -> Iterator[dict]:
        coco = read_coco(args.annotations)
        return coco_person_records(
            coco, args.category, args.keep_empty, tally, where=args.annotations
        )

    return convert(records, args.out)


def convert_mot(args: argparse.Namespace) -> int:
    from ..datasets.converters import convert, mot_records

    def records(tally) -> Iterator[dict]:
        for sequence in args.sequences:
            yield from mot_records(sequence, args.root, args.every, args.min_visibility, tally)

    return convert(records, args.out)


def convert_widerperson(args: argparse.Namespace) -> int:
    from ..datasets.converters import convert, widerperson_records

    return convert(lambda tally: widerperson_records(args.root, args.split, tally), args.out)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return args.convert(args)
