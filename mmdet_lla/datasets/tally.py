"""What became of the records of a source: each is written, left out for a reason, or lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .text import AnnotationError


@dataclass(frozen=True)
class Loss:
    """Something wrong with a source.

    Attributes:
        where: File and place in it.
        reason: What is wrong, and what was expected.
        kind: One of a few words, to group by.
        number: Number of the picture in the file, from 1; 0 if it belongs to none.
        picture: The picture's name, '' if unknown.
        records: How many records cannot be used because of it; 0 where all can.
        severe: Whether a reader that must have everything stops at it.
    """

    where: str
    reason: str
    kind: str = 'malformed'
    number: int = 0
    picture: str = ''
    records: int = 1
    severe: bool = True

    def __str__(self) -> str:
        return f'{self.where}: {self.reason}'


@dataclass
class Tally:
    """Counts the records of a source, a box each, and names those that are lost.

    Attributes:
        read: Records that the source holds.
        written: Records that were written, ignore regions included.
        left_out: Records that the source or the user marked as not wanted, by reason.
        pictures_left_out: Pictures that were not wanted, by reason.
        losses: What is wrong.
    """

    read: int = 0
    written: int = 0
    left_out: Counter = field(default_factory=Counter)
    pictures_left_out: Counter = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Records that were lost."""
        return sum(loss.records for loss in self.losses)

    def lose(self, where: str, reason: str, **details) -> None:
        """Name something wrong; ``details`` as in :class:`Loss`."""
        self.losses.append(Loss(where, reason, **details))

    def note(self, where: str, reason: str, **details) -> None:
        """Name something odd that has one meaning all the same, so that no reader stops at it."""
        self.losses.append(Loss(where, reason, records=0, severe=False, **details))

    def leave_out(self, reason: str, records: int = 1) -> None:
        """Count records that are not wanted."""
        self.left_out[reason] += records

    def check(self) -> None:
        """Raise RuntimeError unless every record was written or named: a fault of this package."""
        named = self.written + sum(self.left_out.values()) + self.lost
        if named != self.read:
            raise RuntimeError(f'{self.read} records were read, but {named} written or named')


class StrictTally(Tally):
    """Raises at the first record that cannot be used, as a dataset and a metric must."""

    def lose(self, where: str, reason: str, **details) -> None:
        """Raise AnnotationError."""
        raise AnnotationError(f'{where}: {reason}')

    def note(self, where: str, reason: str, **details) -> None:
        """Do nothing."""
