"""Runs command-line tools as processes, and reads how far they are."""

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
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmdet_lla.processes import end_with

_STEP = re.compile(r'(Epoch|Iter)\((train|test)\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\]')
_LOSS = re.compile(r'\bloss: (nan|inf|[\d.]+)')


class Step(NamedTuple):
    """Where a tool of mmdet says it is.

    Attributes:
        phase (str): ``train`` or ``test``.
        epoch (int, optional): From 1; None in a test or a training that counts iterations alone.
        done (int): Iterations done of the epoch, the training or the test.
        total (int): Iterations it has.
        loss (str, optional): As it was printed.
    """

    phase: str
    epoch: int | None
    done: int
    total: int
    loss: str | None

    def fraction(self, max_epochs: int | None = None) -> float:
        """Share of the training or of the test that is done, 0 to 1."""
        part = self.done / max(self.total, 1)
        if self.epoch is None or not max_epochs:
            return min(part, 1.0)
        return min((self.epoch - 1 + part) / max_epochs, 1.0)


def parse_step(line: str) -> Step | None:
    """Read a line of mmengine's log; None if it speaks of something else."""
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
        tool (str): Its file name.
        status (int): Its exit status, negative for a signal.
        log (Path): All it wrote.
        tail (str): The last lines of it.
    """

    def __init__(self, tool: str, status: int, log: Path, tail: str) -> None:
        # All arguments are kept as such, so that the error can be pickled.
        super().__init__(tool, status, log, tail)
        self.tool, self.status, self.log, self.tail = tool, status, log, tail

    def __str__(self) -> str:
        if self.status < 0:
            how = f'was ended by {signal.Signals(-self.status).name}'
            if -self.status == signal.SIGKILL:
                how += ' (out of memory?)'
        else:
            how = f'failed (exit status {self.status})'
        return f'{self.tool} {how}; the end of {self.log}:\n{self.tail}'


def tail_of(log: Path, num_lines: int = 15) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    return '\n'.join(lines[-num_lines:])


class Stopped(RuntimeError):
    """The processes were told to stop."""


class Processes:
    """Tools that run as processes and never outlive this one.

    Safe to use from several threads. They end with this process even when it is killed: a training
    left behind would write into the same files as the next one.

    Args:
        env (dict[str, str], optional): Environment on top of this process's own.
        cwd (Path, optional): Folder they run in. Defaults to this process's own.
    """

    def __init__(self, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.env = {**os.environ, **(env or {})}
        self.cwd = cwd
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def with_env(self, env: dict[str, str]) -> Processes:
        """Processes that are stopped with these, with more in their environment."""
        other = copy.copy(self)
        other.env = {**self.env, **env}
        return other

    def lines(self, command: Sequence, log: Path) -> Iterator[str]:
        """Run a Python tool and give its output line by line, adding it to a log.

        Args:
            command (Sequence): Path of the tool, and its arguments.
            log (Path): Written on from its end.

        Raises:
            ToolFailed: The exit status was not 0.
            Stopped: ``stop`` was called.
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
                # The one who reads may have stopped reading, by an exception of his.
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
            raise ToolFailed(tool, process.returncode, log, tail_of(log))

    def _start(self, command: list[str]) -> subprocess.Popen:
        with self._lock:
            if self._stopped.is_set():
                raise Stopped
            process = subprocess.Popen(
                command,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                # Ctrl-C in a terminal goes to us alone, who pass it on.
                start_new_session=True,
                preexec_fn=partial(end_with, os.getpid()),
            )
            self._running.add(process)
        return process

    def stop(self, grace: float = 10.0) -> None:
        """End all that runs, with what it started, and start nothing more.

        Args:
            grace (float): Seconds to end in an orderly way. Defaults to 10.
        """
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
    """Signal a process and all in its session's group, such as the workers of data loaders."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
