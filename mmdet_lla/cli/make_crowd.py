"""Generate crowd scenes in CrowdHuman's format, from a seed.

Example:
    python tools/make_crowd.py data/crowd --train 400 --val 100 --density default
    python tools/make_crowd.py data/crowd-wide --preset wide --set night=0.5 people=30
"""

import argparse
import json
import sys
import time


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out_dir', help='folder of the data set')
    parser.add_argument('--train', type=int, default=400, help='training pictures')
    parser.add_argument('--val', type=int, default=100, help='validation pictures')
    parser.add_argument('--size', default='640x480', help='WIDTHxHEIGHT of the pictures')
    parser.add_argument(
        '--density',
        help="sparse, default, dense, or a mean number of people a picture (default: the preset's)",
    )
    parser.add_argument(
        '--preset',
        default='default',
        help="default: CrowdHuman's statistics; wide: what a detector of real people learns from",
    )
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='fields of CrowdParams, such as night=0.5 or jpeg_quality=30,95',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, help='processes (default: one a processor)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace another generated data set in the folder'
    )
    return parser.parse_args(argv)


def parse_size(text: str) -> tuple:
    """``'640x480'`` as ``(640, 480)``.

    Raises:
        ValueError: If the text has another form.
    """
    try:
        width, height = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise ValueError(f'--size must look like 640x480, got {text!r}') from None
    return width, height


def parse_fields(items: list) -> dict:
    """``['night=0.5', 'jpeg_quality=30,95']`` as fields of ``CrowdParams``.

    Raises:
        ValueError: If an item has another form, or names no field.
    """
    from ..datasets.crowd_generator import CrowdParams

    known, fields = CrowdParams().to_dict(), {}
    for item in items:
        name, _, text = item.partition('=')
        if name not in known:
            raise ValueError(
                f'--set: no field {name!r} in CrowdParams; there are: {", ".join(known)}'
            )
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
    """Print the statistics of a data set beside CrowdHuman's published ones."""
    from ..datasets.crowd_generator import load_records, statistics
    from ..datasets.crowd_generator.params import (
        CROWDHUMAN_PAIRS_OVER_HALF,
        CROWDHUMAN_PEOPLE,
    )

    splits = {k: statistics(v) for k, v in load_records(root).items()}
    print(f'{"":34}' + ''.join(f'{name:>10}' for name in splits) + f'{"CrowdHuman":>12}')
    rows = (
        ('pictures', 'pictures', '.0f', '15000'),
        ('people a picture', 'people', '.2f', f'{CROWDHUMAN_PEOPLE:.2f}'),
        ('pairs with IoU > 0.5 a picture', 'pairs_0.5', '.2f', f'{CROWDHUMAN_PAIRS_OVER_HALF:.2f}'),
        ('ignored regions a picture', 'ignored', '.2f', ''),
        ('visible share of a full box', 'visible', '.2f', ''),
    )
    for title, key, form, published in rows:
        print(
            f'{title:34}'
            + ''.join(f'{s[key]:10{form}}' for s in splits.values())
            + f'{published:>12}'
        )
    for name, values in splits.items():
        if values['heights']:
            low, *_, middle, _, high, _ = values['heights']
            print(
                f'body heights of {name}: {low:.0f} px at least, half below {middle:.0f}, '
                f'95 % below {high:.0f}'
            )


def main(argv: list[str] | None = None) -> int:
    """Generate, then measure."""
    args = parse_args(argv)
    from ..datasets.crowd_generator import CrowdParams, build_dataset, default_workers

    start = time.monotonic()
    try:
        width, height = parse_size(args.size)
        params = CrowdParams.preset(
            args.preset, **{'width': width, 'height': height, **parse_fields(args.set)}
        )
        if args.density is not None:
            params = params.with_density(args.density)
        workers = default_workers() if args.workers is None else args.workers
        made = build_dataset(
            args.out_dir, args.train, args.val, params, args.seed, workers, args.overwrite
        )
    except (FileExistsError, ValueError) as error:
        sys.exit(f'error: {error}')
    if made:
        print(f'generated {args.train + args.val} pictures in {time.monotonic() - start:.0f} s')
    else:
        print(f'{args.out_dir} is complete already, nothing to do')
    report(args.out_dir)
    return 0
