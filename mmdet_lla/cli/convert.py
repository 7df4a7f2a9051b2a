"""Convert the annotations of a dataset to .odgt, the format of CrowdHuman.

  mmdet-lla convert yolo data/mine data/people
  mmdet-lla convert mot data/MOT17/train/*-FRCNN data/MOT17/train.odgt --every 10

yolo, voc, coco and labelme create a directory with images and both splits, ready for
`mmdet-lla check` and `mmdet-lla train --from`; the other formats create one annotation file.
Status 1 says that some records were rejected, each of them named.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from .options import CommandParser, parse_count, run_command

#: Formats of datasets with images of one's own.
LAYOUTS = {
    'yolo': 'Convert a YOLO dataset: a directory or its data.yaml.',
    'voc': 'Convert Pascal VOC XML files and their images.',
    'coco': 'Convert COCO instances and their images: a directory or a JSON file.',
    'labelme': 'Convert LabelMe JSON files and their images.',
}


def build_parser() -> CommandParser:
    parser = CommandParser('convert', __doc__)
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')

    def add_format(name: str, doc: str, function) -> CommandParser:
        summary = doc[0].lower() + doc[1:].rstrip('.')
        added = formats.add_parser(name, command=f'convert {name}', doc=doc, help=summary)
        added.set_defaults(convert=function)
        return added

    for name, doc in LAYOUTS.items():
        layout = add_format(name, doc, convert_layout)
        layout.add_argument('source', metavar='SOURCE', help='directory or file of the dataset')
        layout.add_argument(
            'out',
            metavar='OUT',
            help='directory to create, with annotation_train.odgt, annotation_val.odgt and Images',
        )
        layout.add_argument(
            '--classes',
            nargs='+',
            metavar='CLASS',
            help='classes that are people (default: person and its synonyms)',
        )
        layout.add_argument(
            '--ignore-classes',
            nargs='+',
            metavar='CLASS',
            help='classes that become ignore regions (default: crowd, ignore)',
        )
        layout.add_argument(
            '--val-fraction',
            type=float,
            default=0.2,
            metavar='FRACTION',
            help='fraction of the images to validate on where the source has no such split',
        )
        layout.add_argument(
            '--link', action='store_true', help='link to the images instead of copying them'
        )
        layout.add_shared('--seed', '--quiet')

    caltech = add_format(
        'caltech', "Convert Caltech Pedestrians' .vbb annotations.", convert_caltech
    )
    caltech.add_argument(
        'annotations', metavar='SOURCE', help='directory with set00/V000.vbb and so on'
    )
    caltech.add_argument('out', metavar='OUT', help='.odgt file to write')
    caltech.add_argument(
        '--every',
        type=parse_count,
        default=30,
        metavar='N',
        help='take one of this number of frames',
    )
    caltech.add_argument(
        '--pattern',
        default='{set}_{video}_I{frame:05d}',
        help='name of an image without extension, by default as dbExtract writes it',
    )
    caltech.add_shared('--quiet')

    citypersons = add_format(
        'citypersons',
        "Convert CityPersons' MAT annotations, also to the JSON that its evaluation reads.",
        convert_citypersons,
    )
    citypersons.add_argument('annotations', metavar='SOURCE', help='anno_train.mat or anno_val.mat')
    citypersons.add_argument('out', metavar='OUT', help='.odgt or .json file to write')
    citypersons.add_argument(
        '--person-classes',
        type=int,
        nargs='+',
        default=[1],
        metavar='CLASS',
        help='numbers of the classes that are people',
    )
    citypersons.add_shared('--quiet')

    coco_person = add_format(
        'coco_person',
        'Convert one category of a COCO file; crowds become ignore regions.',
        convert_coco_person,
    )
    coco_person.add_argument('annotations', metavar='SOURCE', help='COCO annotation file')
    coco_person.add_argument('out', metavar='OUT', help='.odgt file to write')
    coco_person.add_argument(
        '--category', default='person', metavar='NAME', help='name of the category to take'
    )
    coco_person.add_argument('--keep-empty', action='store_true', help='keep images without people')
    coco_person.add_shared('--quiet')

    mot = add_format('mot', 'Convert MOTChallenge sequences to one file.', convert_mot)
    mot.add_argument(
        'sequences', nargs='+', metavar='SOURCE', help='directories with gt/gt.txt and img1'
    )
    mot.add_argument('out', metavar='OUT', help='.odgt file to write')
    mot.add_argument(
        '--root',
        metavar='DIR',
        help='directory that IDs start from (default: the parent of a sequence)',
    )
    mot.add_argument(
        '--every',
        type=parse_count,
        default=1,
        metavar='N',
        help='take one of this number of frames',
    )
    mot.add_argument(
        '--min-visibility',
        type=float,
        default=0.0,
        metavar='FRACTION',
        help='ignore people of whom a smaller fraction is visible',
    )
    mot.add_shared('--quiet')

    widerperson = add_format('widerperson', 'Convert a split of WiderPerson.', convert_widerperson)
    widerperson.add_argument(
        'root', metavar='SOURCE', help='directory with Annotations, Images, train.txt and val.txt'
    )
    widerperson.add_argument('split', metavar='SPLIT', help='split to convert, train or val')
    widerperson.add_argument('out', metavar='OUT', help='.odgt file to write')
    widerperson.add_shared('--quiet')
    return parser


def convert_layout(args: argparse.Namespace) -> int:
    from ..datasets.converters import CONVERTERS, IGNORE_CLASSES

    return CONVERTERS[args.format](
        args.source,
        args.out,
        classes=args.classes,
        ignore_classes=IGNORE_CLASSES if args.ignore_classes is None else args.ignore_classes,
        val_fraction=args.val_fraction,
        seed=args.seed,
        link=args.link,
    )


def convert_caltech(args: argparse.Namespace) -> int:
    from ..datasets.converters import caltech_records, convert

    return convert(
        lambda report: caltech_records(args.annotations, args.every, args.pattern, report), args.out
    )


def convert_citypersons(args: argparse.Namespace) -> int:
    from ..datasets.converters import citypersons_records, convert, run_conversion
    from ..datasets.converters.citypersons import open_citypersons, remove_invalid
    from ..datasets.text import open_output

    def read(report) -> dict:
        return open_citypersons(args.annotations, None, args.person_classes, report)

    if args.out.endswith('.odgt'):
        return convert(
            lambda report: citypersons_records(read(report), report, args.annotations), args.out
        )

    def write(report) -> str:
        coco = remove_invalid(read(report), report, args.annotations)
        with open_output(args.out) as file:
            json.dump(coco, file)
        return f'{len(coco["images"])} images, {report.written} annotations'

    return run_conversion(write, args.out)


def convert_coco_person(args: argparse.Namespace) -> int:
    from ..datasets.coco_json import read_coco
    from ..datasets.converters import coco_person_records, convert

    def records(report) -> Iterator[dict]:
        coco = read_coco(args.annotations)
        return coco_person_records(
            coco, args.category, args.keep_empty, report, where=args.annotations
        )

    return convert(records, args.out)


def convert_mot(args: argparse.Namespace) -> int:
    from ..datasets.converters import convert, mot_records

    def records(report) -> Iterator[dict]:
        for sequence in args.sequences:
            yield from mot_records(sequence, args.root, args.every, args.min_visibility, report)

    return convert(records, args.out)


def convert_widerperson(args: argparse.Namespace) -> int:
    from ..datasets.converters import convert, widerperson_records

    return convert(lambda report: widerperson_records(args.root, args.split, report), args.out)


def run(args: argparse.Namespace) -> int:
    from ..utils.files import check_outputs

    if args.format == 'mot' and Path(args.out).is_dir():
        raise ValueError(f'OUT is the directory {args.out}; the file to write comes last')
    if args.format == 'citypersons' and not args.out.endswith(('.odgt', '.json')):
        raise ValueError(f'OUT must end with .odgt or .json, got {args.out}')
    check_outputs([args.out], _list_inputs(args))
    return args.convert(args)


def _list_inputs(args: argparse.Namespace) -> list[Path]:
    """List what a conversion reads, and in directories everything that it might."""
    names = ('source', 'annotations', 'root')
    given = [Path(path) for name in names if (path := getattr(args, name, None))]
    given += map(Path, getattr(args, 'sequences', []))
    inside = [path for one in given for path in one.rglob('*') if path.suffix != '.odgt']
    return [*given, *inside]


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
