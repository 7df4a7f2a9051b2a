"""Run command-line tools as subprocesses and parse their progress."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_lla.utils.children import ending_with_me

_STEP = re.compile(r'(Epoch|Iter)\((train|test)\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\]')
_LOSS = re.compile(r'\bloss: (nan|inf|[\d.]+)')


class Step(NamedTuple):
    """Progress that a tool of mmdet has logged.

    Attributes:
        phase (str): ``train`` or ``test``.
        epoch (int, optional): 1-based epoch; None in a test or an iteration-based training.
        done (int): Completed iterations of the epoch, training or test.
        total (int): Number of iterations.
        loss (str, optional): Loss as printed.
    """

    phase: str
    epoch: int | None
    done: int
    total: int
    loss: str | None

    def fraction(self, max_epochs: int | None = None) -> float:
        """Return the completed fraction of the training or test."""
        part = self.done / max(self.total, 1)
        if self.epoch is None or not max_epochs:
            return min(part, 1.0)
        return min((self.epoch - 1 + part) / max_epochs, 1.0)


def parse_step(line: str) -> Step | None:
    """Parse a line of mmengine's log; None if it reports no progress.

    >>> parse_step('Iter(train) [ 50/200]  loss: 0.5').done
    50
    """
    match = _STEP.search(line)
    if match is None:
        return None
    epoch, loss = match[3], _LOSS.search(line)
    return Step(
        match[2], int(epoch) if epoch else None, int(match[4]), int(match[5]), loss and loss[1]
    )


class ToolFailed(RuntimeError):
    """A tool ended with an error.

    Attributes:
        tool (str): File name of the tool.
        status (int): Exit status, negative for a signal.
        log (Path): Log file with all output.
        tail (str): Last lines of the log.
    """

    def __init__(self, tool: str, status: int, log: Path, tail: str) -> None:
        # BaseException pickles its arguments, so all are passed on.
        super().__init__(tool, status, log, tail)
        self.tool, self.status, self.log, self.tail = tool, status, log, tail

    def __str__(self) -> str:
        if self.status < 0:
            how = f'was terminated by {signal.Signals(-self.status).name}'
            if -self.status == signal.SIGKILL:
                how += ' (out of memory?)'
        else:
            how = f'failed (exit status {self.status})'
        return f'{self.tool} {how}; last lines of {self.log}:\n{self.tail}'


def read_tail(log: Path, num_lines: int = 15) -> str:
    """Return the last lines of a log."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return '\n'.join(lines[-num_lines:])


class Stopped(RuntimeError):
    """The tool runner was stopped."""


class ToolRunner:
    """Runs tools as subprocesses that never outlive this process.

    Thread-safe. The subprocesses end with this process even when it is killed: an orphaned training
    would write to the same files as the next one.

    Args:
        env (dict[str, str], optional): Variables added to this process's environment.
        cwd (Path, optional): Working directory. Defaults to that of this process.
    """

    def __init__(self, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.env = {**os.environ, **(env or {})}
        self.cwd = cwd
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def with_env(self, env: dict[str, str]) -> ToolRunner:
        """Return a runner with more variables that is stopped together with this one."""
        other = copy.copy(self)
        other.env = {**self.env, **env}
        return other

    def run(self, command: Sequence, log: Path) -> Iterator[str]:
        """Run a Python tool, yield its output line by line and append it to a log.

        Raises:
            ToolFailed: The exit status was not 0.
            Stopped: :meth:`stop` was called.
        """
        command = [sys.executable, *map(str, command)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, 'a', encoding='utf-8') as file:
            file.write(f'$ {" ".join(command)}\n')
            file.flush()
            process = self._start(command)
            assert process.stdout is not None  # it is a pipe
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    yield line
            finally:
                # The caller may have stopped reading because of an exception.
                if process.poll() is None and sys.exc_info()[0] is not None:
                    _signal(process, signal.SIGKILL)
                process.stdout.close()
                process.wait()
                with self._lock:
                    self._running.discard(process)
        if self._stopped.is_set():
            raise Stopped
        if process.returncode:
            tool = next(Path(word).name for word in command[1:] if word.endswith('.py'))
            raise ToolFailed(tool, process.returncode, log, read_tail(log))

    def _start(self, command: list[str]) -> subprocess.Popen:
        with self._lock:
            if self._stopped.is_set():
                raise Stopped
            process = subprocess.Popen(
                ending_with_me(command),
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                # Ctrl-C in a terminal reaches this process only, which passes it on.
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def stop(self, grace: float = 10.0) -> None:
        """Terminate all tools with their children, and refuse to start others."""
        with self._lock:
            self._stopped.set()
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and any(p.poll() is None for p in running):
            time.sleep(0.05)
        for process in running:
            _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen, number: int) -> None:
    """Signal a process and its process group, which includes data loader workers."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
