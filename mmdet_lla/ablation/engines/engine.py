"""What a study asks of an engine: run these jobs, tell how far they are, here are the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .processes import Processes


class Place:
    """Where a job runs: starts its tools there, and passes on how far they are.

    Args:
        processes (Processes): Starts the tools.
        tell (Callable): Takes the share that is done, 0 to 1, and words.
        cpus (int): Threads that the job may use.
        gpus (int): GPUs that it sees; with several, a tool runs in as many processes.
    """

    def __init__(
        self, processes: Processes, tell: Callable[[float, str], None], cpus: int, gpus: int
    ) -> None:
        self.processes = processes
        self.tell = tell
        self.cpus = cpus
        self.gpus = gpus

    def lines(self, command: Sequence, log: Path) -> Iterator[str]:
        """Output of a tool of mmdet, line by line; see :meth:`Processes.lines`."""
        return self.processes.lines(distributed(command, self.gpus), log)


@dataclass(frozen=True)
class Job:
    """Something to run.

    Attributes:
        name (str): Different for each.
        call (Callable): Does it, given a :obj:`Place`, perhaps in another process: it has to be
            picklable, and so has what it returns.
        needs (tuple[Path]): Files and folders that have to be seen where it runs.
    """

    name: str
    call: Callable[[Place], Any]
    needs: tuple[Path, ...] = ()


class Told(NamedTuple):
    """How far a job is: its name, the share that is done, 0 to 1, and words."""

    name: str
    share: float
    words: str


class Done(NamedTuple):
    """A job that is done, and what it returned."""

    name: str
    result: Any


class Failed(NamedTuple):
    """A job that raised, or whose place was lost too often."""

    name: str
    error: Exception


class Said(NamedTuple):
    """Something that whoever waits should know."""

    text: str


Event = Told | Done | Failed | Said | None


class Engine(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """Run all jobs, in their order as far as there is room; give what happens.

        Every job is given once as :obj:`Done` or :obj:`Failed`. There is an event, or None, at
        least every two seconds. Closing the iterator ends what still runs and starts nothing more.
        """


def distributed(command: Sequence, processes: int) -> list[str]:
    """The command of a tool of mmdet for one process, or for several of one machine.

    Args:
        command (Sequence): Path of the tool, and its arguments.
        processes (int): One a GPU; 0 and 1 need no launcher.
    """
    words = [str(word) for word in command]
    if processes < 2:
        return words
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    return [*launcher, *words, '--launcher', 'pytorch']


def threads(count: int) -> dict[str, str]:
    """Environment of a tool that may use ``count`` threads."""
    return {'OMP_NUM_THREADS': str(count), 'MKL_NUM_THREADS': str(count)}


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
