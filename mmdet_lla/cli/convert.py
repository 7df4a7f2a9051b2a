"""Convert the annotations of a data set to .odgt, CrowdHuman's format.

    mmdet-lla convert mot data/MOT17/train.odgt data/MOT17/train/*-FRCNN --every 10

Exit status: 0 if every record was written or skipped as the source marks it, 1 if some were
rejected (all are named), 2 if the conversion could not be done.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmdet-lla convert',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')

    for name, text in (
        ('yolo', 'a YOLO data set: a directory or its data.yaml'),
        ('voc', 'Pascal VOC XML files with their images'),
        ('coco', 'COCO instances with their images: a directory or a JSON file'),
        ('labelme', 'LabelMe JSON files with their images'),
    ):
        layout = formats.add_parser(name, help=f'{text}, to the layout of CrowdHuman')
        layout.add_argument('source', help='directory or file of the data set')
        layout.add_argument(
            'out', help='directory to create: annotation_train.odgt, annotation_val.odgt, Images'
        )
        layout.add_argument(
            '--classes', nargs='+', help='classes to keep (default: person and its synonyms)'
        )
        layout.add_argument(
            '--ignore-classes', nargs='+', help='classes of ignore regions (default: crowd, ignore)'
        )
        layout.add_argument(
            '--val-fraction',
            type=float,
            default=0.2,
            help='fraction of the images to validate on if the source has no such split '
            '(default: %(default)s)',
        )
        layout.add_argument(
            '--seed', type=int, default=0, help='seed of that choice (default: %(default)s)'
        )
        layout.add_argument(
            '--link', action='store_true', help='link to the images instead of copying them'
        )
        layout.set_defaults(convert=convert_layout)

    caltech = formats.add_parser('caltech', help="Caltech Pedestrians' .vbb annotations")
    caltech.add_argument('annotations', help='directory with set00/V000.vbb and so on')
    caltech.add_argument('out', help='.odgt file to write')
    caltech.add_argument(
        '--every', type=int, default=30, help='take one of every n frames (default: %(default)s)'
    )
    caltech.add_argument(
        '--pattern',
        default='{set}_{video}_I{frame:05d}',
        help='name of an image without extension (default: as dbExtract writes it)',
    )
    caltech.set_defaults(convert=convert_caltech)

    citypersons = formats.add_parser(
        'citypersons', help="CityPersons' MAT annotations, also to the JSON its evaluation reads"
    )
    citypersons.add_argument('annotations', help='anno_train.mat or anno_val.mat')
    citypersons.add_argument('out', help='.odgt or .json file to write')
    citypersons.add_argument(
        '--person-classes',
        type=int,
        nargs='+',
        default=[1],
        help='classes that count as people (default: 1)',
    )
    citypersons.set_defaults(convert=convert_citypersons)

    coco_person = formats.add_parser(
        'coco_person', help='one category of a COCO file; crowds become ignore regions'
    )
    coco_person.add_argument('annotations', help='COCO annotation file')
    coco_person.add_argument('out', help='.odgt file to write')
    coco_person.add_argument(
        '--category', default='person', help='category to take (default: %(default)s)'
    )
    coco_person.add_argument('--keep-empty', action='store_true', help='keep images without people')
    coco_person.set_defaults(convert=convert_coco_person)

    mot = formats.add_parser('mot', help='MOTChallenge sequences, into one file')
    mot.add_argument('out', help='.odgt file to write')
    mot.add_argument('sequences', nargs='+', help='directories with gt/gt.txt and img1')
    mot.add_argument('--root', help='directory that IDs start from (default: parent of a sequence)')
    mot.add_argument(
        '--every', type=int, default=1, help='take every n-th frame (default: %(default)s)'
    )
    mot.add_argument(
        '--min-visibility',
        type=float,
        default=0.0,
        help='ignore less visible people (default: %(default)s)',
    )
    mot.set_defaults(convert=convert_mot)

    widerperson = formats.add_parser('widerperson', help='a split of WiderPerson')
    widerperson.add_argument('root', help='directory with Annotations, Images, train.txt, val.txt')
    widerperson.add_argument('split', help='train or val')
    widerperson.add_argument('out', help='.odgt file to write')
    widerperson.set_defaults(convert=convert_widerperson)

    args = parser.parse_args(argv)
    if args.format == 'citypersons' and not args.out.endswith(('.odgt', '.json')):
        parser.error(f'out must end with .odgt or .json, got {args.out}')
    return args


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


def main(argv: list[str] | None = None) -> int:
    from ..utils.files import check_outputs

    args = parse_args(argv)
    try:
        check_outputs([args.out], _list_inputs(args))
    except ValueError as error:
        print(f'nothing was written to {args.out}: {error}', file=sys.stderr)
        return 2
    return args.convert(args)


def _list_inputs(args: argparse.Namespace) -> list[Path]:
    """List what a conversion reads, and in directories everything that it might."""
    names = ('source', 'annotations', 'root')
    given = [Path(path) for name in names if (path := getattr(args, name, None))]
    given += map(Path, getattr(args, 'sequences', []))
    inside = [path for one in given for path in one.rglob('*') if path.suffix != '.odgt']
    return [*given, *inside]
