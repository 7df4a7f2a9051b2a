"""Write converted records to ``.odgt`` files and report every record of the source."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from tqdm import tqdm

from ..box_faults import find_box_faults
from ..image_sizes import Size
from ..odgt import find_record_fault, is_ignored
from ..report import ConversionReport
from ..text import open_output


class NothingToWrite(ValueError):
    """No image or no valid annotation is left to write."""


def make_valid_record(
    img_id: str,
    annotations: Sequence[dict],
    places: Sequence[str],
    size: Size | None,
    report: ConversionReport,
) -> dict:
    """Build a record from those annotations in which ``check`` would find no fault.

    >>> report = ConversionReport(read=1)
    >>> annotation = {'tag': 'person', 'fbox': [0, 0, 10, 0]}
    >>> make_valid_record('a', [annotation], ['a.txt, line 1'], None, report)
    {'ID': 'a', 'gtboxes': []}
    >>> str(report.issues[0])
    'a.txt, line 1: image a: no area, fbox [0, 0, 10, 0]'

    Args:
        img_id: ID of the image.
        annotations: Entries of ``gtboxes``.
        places: Position of each annotation in the source.
        size: (height, width) of the image; None if unknown, then no box is outside of it.
        report: Receives the rejected annotations.

    Returns:
        dict: With ``ID`` and ``gtboxes``.
    """
    kept = []
    for annotation, place in zip(annotations, places, strict=True):
        form = find_record_fault({'ID': img_id, 'gtboxes': [annotation]})
        faults = [('malformed', form)] if form else list(find_box_faults(annotation, size))
        if faults:
            kind, what = faults[0]
            report.reject(place, f'image {img_id}: {kind}, {what}', kind=kind, image=img_id)
        else:
            kept.append(annotation)
    return {'ID': img_id, 'gtboxes': kept}


def convert(make: Callable[[ConversionReport], Iterable[dict]], out: str) -> int:
    """Write the records of a source to an ``.odgt`` file and print the conversion report.

    Args:
        make: Yields the records; adds skipped and rejected ones to the report.
        out: File to write; it appears only when complete.

    Returns:
        int: Exit status. 0: every record was written or skipped on purpose; 1: some were rejected,
        each of them named; 2: the conversion failed and nothing was written.
    """

    def write(report: ConversionReport) -> str:
        with open_output(out) as file:
            written = write_records(tqdm(make(report), unit=' images'), file, report)
            check_written(report)
        return written

    return run_conversion(write, out)


def run_conversion(write: Callable[[ConversionReport], str], out: str) -> int:
    """Run a conversion, print its report and return the exit status of :func:`convert`.

    Args:
        write: Writes the output, fills the report and describes what was written.
        out: Output path, for messages.
    """
    report = ConversionReport()
    try:
        written = f'{write(report)} in {out}'
    except NothingToWrite as error:
        written = f'nothing was written to {out}: {error}'
    except (OSError, ValueError) as error:
        print(f'nothing was written to {out}: {error}', file=sys.stderr)
        return 2
    report.check()
    for issue in report.issues:
        print(issue)
    print(written)
    for what, reasons in (('', report.skipped), ('images ', report.skipped_images)):
        for reason, count in sorted(reasons.items()):
            print(f'skipped: {count} {what}{reason}')
    severe = sum(issue.severe for issue in report.issues)
    if severe:
        print(
            f'rejected: {report.num_rejected} of {report.read} records, '
            f'for {severe} reasons named above'
        )
    return 1 if severe else 2 if written.startswith('nothing') else 0


def write_records(records: Iterable[dict], file, report: ConversionReport) -> str:
    """Write records to an open file and describe them in a few words.

    Raises:
        NothingToWrite: There is no image.
    """
    images = people = written = 0
    for record in _drop_repeated(records, report):
        file.write(json.dumps(record) + '\n')
        images += 1
        written += len(record['gtboxes'])
        people += sum(not is_ignored(annotation) for annotation in record['gtboxes'])
    if not images:
        raise NothingToWrite('there is no image')
    report.written += written
    return f'{images} images, {people} people and {written - people} ignore regions'


def check_written(report: ConversionReport) -> None:
    """Raise NothingToWrite if every annotation was rejected."""
    if not report.written and report.num_rejected:
        raise NothingToWrite('every annotation was rejected')


def _drop_repeated(records: Iterable[dict], report: ConversionReport) -> Iterator[dict]:
    """Yield the first record of each ID and reject the others."""
    seen = set()
    for record in records:
        img_id = record['ID']
        if img_id in seen:
            report.reject(
                f'image {img_id}',
                'ID occurs more than once, so no evaluation can tell the images apart',
                kind='repeated ID',
                image=img_id,
                records=len(record['gtboxes']),
            )
            continue
        seen.add(img_id)
        yield record
