"""One bar, or one line now and then, over a whole study."""

from __future__ import annotations

import sys
import threading
import time
from datetime import timedelta

from tqdm import tqdm


class StudyProgress:
    """Shows how far a study is and when it will be done.

    In a terminal it is a bar; elsewhere (a log) a line after every run and every so many seconds.
    Safe to use from several threads.

    Args:
        interval (float): Seconds between two lines in a log. Defaults to 60.
        stream (TextIO, optional): Defaults to standard error.
        clock (Callable): Seconds. Defaults to ``time.monotonic``.
    """

    def __init__(self, interval: float = 60.0, stream=None, clock=time.monotonic) -> None:
        self.interval = interval
        self.stream = stream or sys.stderr
        self.clock = clock
        self._shares: dict[str, float] = {}
        self._words: dict[str, str] = {}
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
        """Announce a run."""
        with self._lock:
            self._shares[name] = float(done)

    def update(self, name: str, share: float, words: str) -> None:
        """Say how far a run is.

        Args:
            name (str): Of the run.
            share (float): 0 to 1.
            words (str): Where it is.
        """
        with self._lock:
            # What an interrupted training had done already was not done just now.
            if name in self._words:
                self._gained += max(share - self._shares[name], 0.0)
            self._shares[name] = max(share, self._shares[name])
            self._words[name] = words

    def finish(self, name: str, words: str) -> None:
        """Say that a run is done, and what came of it."""
        self.update(name, 1.0, '')
        self._end(name, f'{name}: {words}')

    def fail(self, name: str, reason: str) -> None:
        """Say that a run failed, and why."""
        with self._lock:
            self._failed.add(name)
        self._end(name, f'{name} FAILED: {reason}')

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            if self._bar is None:
                print(text, file=self.stream, flush=True)
            else:
                self._bar.write(text, file=self.stream)

    def refresh(self) -> None:
        """Show the state, in a log only if the last line is old enough."""
        with self._lock:
            if self._bar is not None:
                share = self.share()
                self._bar.n = round(100 * share, 1)
                self._bar.set_postfix_str(self.line(), refresh=True)
            elif self.clock() - self._last >= self.interval:
                self._print_line()

    def close(self) -> None:
        """Leave the terminal to others."""
        if self._bar is not None:
            self.refresh()
            self._bar.close()

    def share(self) -> float:
        """Share of the whole study that is done or has failed, 0 to 1."""
        shares = [1.0 if name in self._failed else share for name, share in self._shares.items()]
        return sum(shares) / max(len(shares), 1)

    def eta(self) -> float | None:
        """Seconds left at the pace so far; None while there is no telling."""
        left = len(self._shares) * (1 - self.share())
        elapsed = self.clock() - self._start
        return elapsed * left / self._gained if self._gained > 0 else None

    def line(self) -> str:
        """The state in one line."""
        done = sum(share == 1.0 for share in self._shares.values())
        parts = [f'{done}/{len(self._shares)} runs']
        if self._failed:
            parts.append(f'{len(self._failed)} failed')
        parts.append(f'{_duration(self.clock() - self._start)} so far')
        eta = self.eta()
        if eta is not None:
            parts.append(f'{_duration(eta)} left')
        parts += [f'{name}: {words}' for name, words in self._words.items()]
        return ' | '.join(parts)

    def _end(self, name: str, text: str) -> None:
        with self._lock:
            self._words.pop(name, None)
            self.say(text)
            if self._bar is None:
                self._print_line()
            else:
                self.refresh()

    def _print_line(self) -> None:
        self._last = self.clock()
        print(f'{100 * self.share():3.0f} % | {self.line()}', file=self.stream, flush=True)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
