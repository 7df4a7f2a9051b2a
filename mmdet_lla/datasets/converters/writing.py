"""From records to an ``.odgt`` file in which nobody is missing without a word."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from tqdm import tqdm

from ..box_faults import box_faults
from ..image_sizes import Size
from ..odgt import is_ignored, record_fault
from ..tally import Tally
from ..text import replacing


class NothingToWrite(ValueError):
    """A conversion of which nothing is left."""


def sound_record(
    name: str, annotations: Sequence[dict], places: Sequence[str], size: Size | None, tally: Tally
) -> dict:
    """A record of those annotations that the check of a dataset finds nothing wrong with.

    Args:
        name: The picture's ID.
        annotations: Entries of ``gtboxes``.
        places: Where in the source each of them stands.
        size: (height, width) of the picture; None if unknown, then nobody is outside.
        tally: Is told of the others.

    Returns:
        dict: With ``ID`` and ``gtboxes``.
    """
    kept = []
    for annotation, place in zip(annotations, places, strict=True):
        form = record_fault({'ID': name, 'gtboxes': [annotation]})
        faults = [('malformed', form)] if form else list(box_faults(annotation, size))
        if faults:
            kind, what = faults[0]
            tally.lose(place, f'picture {name}: {kind}, {what}', kind=kind, picture=name)
        else:
            kept.append(annotation)
    return {'ID': name, 'gtboxes': kept}


def convert(make: Callable[[Tally], Iterable[dict]], out: str) -> int:
    """Write the records of a source into an ``.odgt`` file, and say what became of each.

    Args:
        make: Gives the records, and tells a tally what it leaves out or loses.
        out: File to write; it appears only when complete.

    Returns:
        int: Exit status. 0: every record was written or left out as the source or the user marks
        it; 1: some were lost, all of them named; 2: the conversion could not be done, and nothing
        was written.
    """
    return account(
        lambda tally: write_records(tqdm(make(tally), unit=' pictures'), out, tally), out
    )


def account(write: Callable[[Tally], str], out: str) -> int:
    """Run a conversion, print what became of every record, and give the exit status.

    Args:
        write: Writes the file, tells a tally what became of each record, and says in words what
            was written.
        out: The file, for messages.

    Returns:
        int: See :func:`convert`.
    """
    tally = Tally()
    try:
        written = f'{write(tally)} in {out}'
    except NothingToWrite as error:
        written = f'nothing was written to {out}: {error}'
    except (OSError, ValueError) as error:
        print(f'nothing was written to {out}: {error}', file=sys.stderr)
        return 2
    tally.check()
    for loss in tally.losses:
        print(loss)
    print(written)
    for what, reasons in (('', tally.left_out), ('pictures ', tally.pictures_left_out)):
        for reason, count in sorted(reasons.items()):
            print(f'left out: {count} {what}{reason}')
    severe = sum(loss.severe for loss in tally.losses)
    if severe:
        print(f'lost: {tally.lost} of {tally.read} records, for {severe} reasons named above')
    return 1 if severe else 2 if written.startswith('nothing') else 0


def write_records(records: Iterable[dict], out: str, tally: Tally) -> str:
    """Write records, counting what is written; see :func:`convert`.

    Raises:
        NothingToWrite: There are no pictures, or nobody is left of all that were read.
    """
    pictures = people = 0
    with replacing(out) as file:
        for record in _unique(records, tally):
            file.write(json.dumps(record) + '\n')
            pictures += 1
            tally.written += len(record['gtboxes'])
            people += sum(not is_ignored(annotation) for annotation in record['gtboxes'])
        if not pictures:
            raise NothingToWrite('there is no picture')
        if not tally.written and tally.lost:
            tally.written = 0
            raise NothingToWrite('all that was annotated is lost')
    return f'{pictures} pictures, {people} people and {tally.written - people} ignore regions'


def _unique(records: Iterable[dict], tally: Tally) -> Iterator[dict]:
    """Records of IDs that did not come before."""
    seen = set()
    for record in records:
        name = record['ID']
        if name in seen:
            tally.lose(
                f'picture {name}',
                'it comes more than once, and no evaluation could tell the two apart',
                kind='repeated ID',
                picture=name,
                records=len(record['gtboxes']),
            )
            continue
        seen.add(name)
        yield record
