"""Conversion report: records read, written, skipped (by reason) and rejected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .text import AnnotationError


@dataclass(frozen=True)
class Issue:
    """One problem found in a source.

    Attributes:
        where: File and position in it.
        reason: What is wrong and what was expected.
        kind: A few words to group by.
        number: Number of the image in the file, from 1; 0 if the issue belongs to no image.
        image: ID or name of the image; '' if unknown.
        records: Number of records rejected because of it; 0 if all remain usable.
        severe: False for a warning, at which a strict reader does not stop.
    """

    where: str
    reason: str
    kind: str = 'malformed'
    number: int = 0
    image: str = ''
    records: int = 1
    severe: bool = True

    def __str__(self) -> str:
        return f'{self.where}: {self.reason}'


@dataclass
class ConversionReport:
    """Counts the records (boxes) of a source and names those that are rejected.

    >>> report = ConversionReport(read=3, written=1)
    >>> report.skip('of class car')
    >>> report.reject('a.txt, line 3', 'class must be one of 0 to 4, got 7')
    >>> report.num_rejected, report.check()
    (1, None)

    Attributes:
        read: Records in the source.
        written: Records written, ignore regions included.
        skipped: Records that the source or the user excludes, by reason.
        skipped_images: Images that are excluded, by reason.
        issues: Rejected records and warnings.
    """

    read: int = 0
    written: int = 0
    skipped: Counter = field(default_factory=Counter)
    skipped_images: Counter = field(default_factory=Counter)
    issues: list[Issue] = field(default_factory=list)

    @property
    def num_rejected(self) -> int:
        """Number of rejected records."""
        return sum(issue.records for issue in self.issues)

    def reject(self, where: str, reason: str, **details) -> None:
        """Record an invalid record or image; ``details`` as in :class:`Issue`."""
        self.issues.append(Issue(where, reason, **details))

    def warn(self, where: str, reason: str, **details) -> None:
        """Record something unexpected that does not make a record unusable."""
        self.issues.append(Issue(where, reason, records=0, severe=False, **details))

    def skip(self, reason: str, records: int = 1) -> None:
        """Count records that are excluded on purpose."""
        self.skipped[reason] += records

    def check(self) -> None:
        """Raise RuntimeError if a record is unaccounted for, which is a bug of this package."""
        accounted = self.written + self.skipped.total() + self.num_rejected
        if accounted != self.read:
            raise RuntimeError(f'{self.read} records were read, {accounted} accounted for')


class StrictReport(ConversionReport):
    """Raises at the first invalid record, as datasets and metrics require."""

    def reject(self, where: str, reason: str, **details) -> None:
        """Raise AnnotationError."""
        raise AnnotationError(f'{where}: {reason}')

    def warn(self, where: str, reason: str, **details) -> None:
        """Do nothing."""
