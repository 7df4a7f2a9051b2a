"""Interface between a study and the engines that run its jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .tools import ToolRunner


class JobContext:
    """What a job gets where it runs: resources, a tool runner and a progress callback.

    Args:
        tools (ToolRunner): Starts command-line tools.
        report (Callable): Takes the completed fraction in [0, 1] and a status message.
        cpus (int): Threads that the job may use.
        gpus (int): GPUs that the job sees; with several, a tool runs in as many processes.
    """

    def __init__(
        self, tools: ToolRunner, report: Callable[[float, str], None], cpus: int, gpus: int
    ) -> None:
        self.tools = tools
        self.report = report
        self.cpus = cpus
        self.gpus = gpus

    def run_tool(self, command: Sequence, log: Path) -> Iterator[str]:
        """Run a tool of mmdet and yield its output; see :meth:`ToolRunner.run`."""
        return self.tools.run(distributed_command(command, self.gpus), log)


@dataclass(frozen=True)
class Job:
    """One unit of work.

    Attributes:
        name (str): Unique name.
        call (Callable): Takes a :class:`JobContext` and returns the result. It may run in another
            process, so it and its result must be picklable.
        inputs (tuple[Path]): Files and directories that must be visible where it runs.
    """

    name: str
    call: Callable[[JobContext], Any]
    inputs: tuple[Path, ...] = ()


class JobProgress(NamedTuple):
    """Progress of a job: name, completed fraction in [0, 1], status message."""

    name: str
    fraction: float
    status: str


class JobResult(NamedTuple):
    """A finished job and its return value."""

    name: str
    result: Any


class JobError(NamedTuple):
    """A job that raised an exception, or whose worker was lost too often."""

    name: str
    error: Exception


class JobMessage(NamedTuple):
    """A message of the engine to the user."""

    text: str


JobEvent = JobProgress | JobResult | JobError | JobMessage | None


class Engine(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Generator[JobEvent, None, None]:
        """Run all jobs in order, as resources permit, and yield events.

        Every job ends with one :class:`JobResult` or :class:`JobError`. An event or None is yielded
        at least every two seconds. Closing the generator terminates running jobs and starts no
        others.
        """


def distributed_command(command: Sequence, num_processes: int) -> list[str]:
    """Wrap a tool command in torchrun if it needs several processes.

    Args:
        command (Sequence): Path of the tool and its arguments.
        num_processes (int): One per GPU; 0 and 1 need no launcher.

    >>> distributed_command(['train.py', 'a.py'], 1)
    ['train.py', 'a.py']
    """
    words = [str(word) for word in command]
    if num_processes < 2:
        return words
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={num_processes}']
    return [*launcher, *words, '--launcher', 'pytorch']


def thread_env(count: int) -> dict[str, str]:
    """Return the environment of a tool that may use ``count`` threads.

    >>> thread_env(2)['OMP_NUM_THREADS']
    '2'
    """
    return {'OMP_NUM_THREADS': str(count), 'MKL_NUM_THREADS': str(count)}
