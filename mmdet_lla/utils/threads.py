"""CPU thread defaults: no spinning threads, and a core for every data worker."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

#: The value that this process wrote to OMP_NUM_THREADS itself; any other is the user's.
_written: str | None = None


@dataclass(frozen=True)
class CpuThreads:
    """The number of compute threads, and why.

    >>> print(CpuThreads(threads=3, cores=4, workers=1, source='default'))
    3 compute threads for 4 cores and 1 data worker (default; change with OMP_NUM_THREADS)
    """

    threads: int
    cores: int
    workers: int
    source: str

    def __str__(self) -> str:
        counts = [
            f'{count} {name}{"s" * (count != 1)}'
            for count, name in (
                (self.threads, 'compute thread'),
                (self.cores, 'core'),
                (self.workers, 'data worker'),
            )
        ]
        change = '; change with OMP_NUM_THREADS' if self.source == 'default' else ''
        return f'{counts[0]} for {counts[1]} and {counts[2]} ({self.source}{change})'


def count_cores(quota: str | os.PathLike = '/sys/fs/cgroup/cpu.max') -> int:
    """Return how many cores this process may use, by its affinity and its container's quota.

    >>> count_cores() >= 1
    True
    """
    affinity = getattr(os, 'sched_getaffinity', None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        limit, period = Path(quota).read_text().split()
        cores = min(cores, max(1, int(limit) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        pass
    return cores


def stop_spinning() -> None:
    """Let OpenMP threads that wait sleep, unless the user says otherwise.

    Spinning beside another busy process, they take several times as long. Has an effect only before
    torch is imported.

    >>> stop_spinning()
    >>> os.environ['OMP_WAIT_POLICY'] != ''
    True
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def configure_threads(threads: int | None = None, workers: int = 0) -> CpuThreads:
    """Set the compute threads of this process: all cores but those of the data workers.

    Includes :func:`stop_spinning`. The user's ``OMP_WAIT_POLICY`` and ``OMP_NUM_THREADS`` are
    respected. May be called again when the number of workers is known.

    Args:
        threads (int, optional): What the user asks for, by ``--threads``.
        workers (int): Number of data workers, which need cores, too. Defaults to 0.

    >>> configure_threads(threads=1).source
    '--threads'
    """
    global _written
    stop_spinning()
    cores, given = count_cores(), os.environ.get('OMP_NUM_THREADS')
    if threads is not None:
        choice = CpuThreads(threads, cores, workers, '--threads')
    elif given is not None and given != _written:
        first = given.split(',')[0]
        own = int(first) if first.isdigit() else cores
        return CpuThreads(own, cores, workers, f'OMP_NUM_THREADS={given}')
    else:
        # Processes that torchrun starts on one machine share its cores.
        processes = int(os.environ.get('LOCAL_WORLD_SIZE') or 1)
        own = max(1, cores // processes - workers)
        choice = CpuThreads(own, cores, workers, 'default')
    _written = os.environ['OMP_NUM_THREADS'] = str(choice.threads)
    if 'torch' in sys.modules:
        sys.modules['torch'].set_num_threads(choice.threads)
    return choice
