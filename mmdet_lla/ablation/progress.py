"""Progress of a study: one bar in a terminal, one line per minute in a log."""

from __future__ import annotations

import sys
import threading
import time
from datetime import timedelta

from tqdm import tqdm


class StudyProgress:
    """Shows the completed fraction of a study and the remaining time. Thread-safe.

    Args:
        interval (float): Seconds between two lines in a log. Defaults to 60.
        stream (TextIO, optional): Defaults to standard error.
        clock (Callable): Returns seconds. Defaults to ``time.monotonic``.
    """

    def __init__(self, interval: float = 60.0, stream=None, clock=time.monotonic) -> None:
        self.interval = interval
        self.stream = stream or sys.stderr
        self.clock = clock
        self._fractions: dict[str, float] = {}
        self._status: dict[str, str] = {}
        self._failed: set[str] = set()
        self._lock = threading.RLock()
        self._start = self._last = clock()
        self._gained = 0.0
        self._bar = (
            tqdm(
                total=100,
                file=self.stream,
                dynamic_ncols=True,
                leave=True,
                bar_format='{percentage:3.0f} %|{bar:20}| {postfix}',
            )
            if self.stream.isatty()
            else None
        )

    def add(self, name: str, done: bool) -> None:
        """Register a run."""
        with self._lock:
            self._fractions[name] = float(done)

    def update(self, name: str, fraction: float, status: str) -> None:
        """Set the completed fraction, in [0, 1], and the status message of a run."""
        with self._lock:
            # The first report of a resumed run contains earlier work, which took no time now.
            if name in self._status:
                self._gained += max(fraction - self._fractions[name], 0.0)
            self._fractions[name] = max(fraction, self._fractions[name])
            self._status[name] = status

    def finish(self, name: str, message: str) -> None:
        """Mark a run as finished and print its result."""
        self.update(name, 1.0, '')
        self._end(name, f'{name}: {message}')

    def fail(self, name: str, reason: str) -> None:
        """Mark a run as failed and print the reason."""
        with self._lock:
            self._failed.add(name)
        self._end(name, f'{name} FAILED: {reason}')

    def write(self, text: str) -> None:
        """Print a line above the bar."""
        with self._lock:
            if self._bar is None:
                print(text, file=self.stream, flush=True)
            else:
                self._bar.write(text, file=self.stream)

    def refresh(self) -> None:
        """Show the current state; in a log only once per interval."""
        with self._lock:
            if self._bar is not None:
                self._bar.n = round(100 * self.fraction(), 1)
                self._bar.set_postfix_str(self.line(), refresh=True)
            elif self.clock() - self._last >= self.interval:
                self._print_line()

    def close(self) -> None:
        """Release the terminal."""
        if self._bar is not None:
            self.refresh()
            self._bar.close()

    def fraction(self) -> float:
        """Return the fraction of the study that has finished or failed."""
        done = [1.0 if name in self._failed else part for name, part in self._fractions.items()]
        return sum(done) / max(len(done), 1)

    def eta(self) -> float | None:
        """Return the remaining seconds at the current pace; None if unknown."""
        remaining = len(self._fractions) * (1 - self.fraction())
        elapsed = self.clock() - self._start
        return elapsed * remaining / self._gained if self._gained > 0 else None

    def line(self) -> str:
        """Return the state in one line."""
        done = sum(fraction == 1.0 for fraction in self._fractions.values())
        parts = [f'{done}/{len(self._fractions)} runs']
        if self._failed:
            parts.append(f'{len(self._failed)} failed')
        parts.append(f'{_format_duration(self.clock() - self._start)} elapsed')
        eta = self.eta()
        if eta is not None:
            parts.append(f'{_format_duration(eta)} left')
        parts += [f'{name}: {status}' for name, status in self._status.items()]
        return ' | '.join(parts)

    def _end(self, name: str, text: str) -> None:
        with self._lock:
            self._status.pop(name, None)
            self.write(text)
            if self._bar is None:
                self._print_line()
            else:
                self.refresh()

    def _print_line(self) -> None:
        self._last = self.clock()
        print(f'{100 * self.fraction():3.0f} % | {self.line()}', file=self.stream, flush=True)


def _format_duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
