"""Runs jobs on this machine, some at once, each on GPUs of its own where there are any."""

from __future__ import annotations

import os
import queue
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from .engine import Done, Event, Failed, Job, Place, Told, num_cores, threads
from .processes import Processes

TICK_S = 1.0


def visible_gpus() -> list[str]:
    """GPUs that a new process would see, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',')[:count] if named else [str(i) for i in range(count)]


class LocalEngine:
    """Threads that wait for processes.

    Args:
        jobs (int, optional): How many at once. Defaults to one a group of GPUs, or to 1. More than
            there are groups share them.
        cpus_per_run (int, optional): Threads of each. Defaults to an equal share of the cores.
        gpus_per_run (int, optional): GPUs of each, all its own. Defaults to 1, or to 0 where there
            are none.
        gpus (Sequence[str], optional): GPUs to deal out. Defaults to all that are visible.

    Raises:
        ValueError: A number is out of its range.
    """

    name = 'local'

    def __init__(
        self,
        jobs: int | None = None,
        cpus_per_run: int | None = None,
        gpus_per_run: int | None = None,
        gpus: Sequence[str] | None = None,
    ) -> None:
        gpus = visible_gpus() if gpus is None else list(gpus)
        self.gpus_per_run = min(len(gpus), 1) if gpus_per_run is None else gpus_per_run
        if not 0 <= self.gpus_per_run <= len(gpus):
            raise ValueError(
                f'gpus_per_run is {gpus_per_run}, expected 0 to {len(gpus)}, the GPUs of this '
                'machine'
            )
        size = self.gpus_per_run
        groups = [gpus[i : i + size] for i in range(0, len(gpus) - size + 1, size)] if size else []
        self.jobs = len(groups) or 1 if jobs is None else jobs
        if self.jobs < 1:
            raise ValueError(f'jobs is {jobs}, expected at least 1')
        self.cpus_per_run = (
            max(num_cores() // self.jobs, 1) if cpus_per_run is None else cpus_per_run
        )
        if self.cpus_per_run < 1:
            raise ValueError(f'cpus_per_run is {cpus_per_run}, expected at least 1')
        # None: a job is not told what to see
        self.groups = [groups[i % len(groups)] if groups else None for i in range(self.jobs)]

    def run(self, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """See :class:`Engine`."""
        free: queue.Queue = queue.Queue()
        for group in self.groups:
            free.put(group)
        events: queue.Queue = queue.Queue()
        processes = Processes(threads(self.cpus_per_run))

        def work(job: Job) -> None:
            def tell(share: float, words: str) -> None:
                events.put(Told(job.name, share, words))

            group = free.get()
            own = {} if group is None else {'CUDA_VISIBLE_DEVICES': ','.join(group)}
            place = Place(processes.with_env(own), tell, self.cpus_per_run, self.gpus_per_run)
            try:
                events.put(Done(job.name, job.call(place)))
            except Exception as error:  # of a job: the others go on
                events.put(Failed(job.name, error))
            finally:
                free.put(group)

        pool = ThreadPoolExecutor(self.jobs)
        try:
            for job in jobs:
                pool.submit(work, job)
            left = len(jobs)
            while left:
                try:
                    event = events.get(timeout=TICK_S)
                except queue.Empty:
                    event = None  # an interruption is seen between two waits
                left -= isinstance(event, (Done, Failed))
                yield event
        finally:
            # Nothing more is started, and nothing is left behind, however this ends.
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            pool.shutdown()
