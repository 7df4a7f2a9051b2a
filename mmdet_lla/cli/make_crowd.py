"""Generate synthetic crowd scenes in the format of CrowdHuman.

mmdet-lla make-crowd data/crowd --train 400 --val 100 --density default
mmdet-lla make-crowd data/crowd-wide --preset wide --set night=0.5 people=30
"""

import argparse
import json
import time

from .options import CommandParser, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('make-crowd', __doc__)
    parser.add_argument('out_dir', metavar='OUT', help='directory of the new dataset')
    parser.add_argument('--train', type=int, default=400, help='number of training images')
    parser.add_argument('--val', type=int, default=100, help='number of validation images')
    parser.add_argument(
        '--size', default='640x480', metavar='WIDTHxHEIGHT', help='size of the images in pixels'
    )
    parser.add_argument(
        '--density',
        help='sparse, default, dense, or the mean number of people per image (default: that of '
        '--preset)',
    )
    parser.add_argument(
        '--preset',
        default='default',
        help="default for CrowdHuman's statistics, wide for a dataset that transfers to real "
        'images',
    )
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='fields of CrowdParams to change, such as night=0.5 or jpeg_quality=30,95 (default: '
        'none)',
    )
    parser.add_shared('--seed', '--workers', '--overwrite', '--quiet')
    return parser


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of a text such as ``640x480``.

    Example:
        >>> parse_size('640x480')
        (640, 480)

    Raises:
        ValueError: The text has another form.
    """
    try:
        width, height = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise ValueError(f'--size must look like 640x480, got {text!r}') from None
    return width, height


def parse_fields(items: list[str], known: dict) -> dict:
    """Return fields of ``CrowdParams`` from ``NAME=VALUE`` items.

    Args:
        items (list[str]): Such as ``['night=0.5', 'jpeg_quality=30,95']``.
        known (dict): All fields with their default values.

    Example:
        >>> parse_fields(['night=0.5', 'quality=30,95'], dict(night=0.1, quality=[50, 90]))
        {'night': 0.5, 'quality': (30, 95)}

    Raises:
        ValueError: An item has another form, or names no field.
    """
    from ..utils.names import did_you_mean

    fields = {}
    for item in items:
        name, _, text = item.partition('=')
        if name not in known:
            raise ValueError(f'--set: CrowdParams has no field {name!r}{did_you_mean(name, known)}')
        try:
            numbers = [json.loads(part) for part in text.split(',')]
            if not all(type(number) in (int, float) for number in numbers):
                raise ValueError
            if isinstance(known[name], list) != (len(numbers) > 1):
                raise ValueError
        except ValueError:
            form = ','.join(map(str, known[name])) if isinstance(known[name], list) else known[name]
            raise ValueError(f'--set: {name} must look like {form}, got {text!r}') from None
        fields[name] = tuple(numbers) if len(numbers) > 1 else numbers[0]
    return fields


def report(root: str) -> None:
    """Print the statistics of each split beside those of CrowdHuman."""
    from ..datasets.statistics import CROWDHUMAN, compute_statistics
    from ..synthetic import load_records
    from .check import print_statistics

    for split, records in load_records(root).items():
        print_statistics(compute_statistics(records).summarize(), CROWDHUMAN, split)


def run(args: argparse.Namespace) -> int:
    from ..synthetic import CrowdParams, build_dataset
    from ..utils.threads import count_cores

    start = time.monotonic()
    width, height = parse_size(args.size)
    fields = parse_fields(args.set, CrowdParams().to_dict())
    params = CrowdParams.preset(args.preset, **{'width': width, 'height': height, **fields})
    if args.density is not None:
        params = params.with_density(args.density)
    made = build_dataset(
        args.out_dir,
        args.train,
        args.val,
        params,
        args.seed,
        args.workers or count_cores(),
        args.overwrite,
    )
    if made:
        print(f'generated {args.train + args.val} images in {time.monotonic() - start:.0f} s')
    else:
        print(f'{args.out_dir} is complete already, nothing to do')
    report(args.out_dir)
    print(f'written: {args.out_dir}')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
