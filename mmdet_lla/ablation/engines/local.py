"""Run jobs on this machine, several at once, each on its own GPUs if there are any."""

from __future__ import annotations

import os
import queue
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from ...utils.threads import count_cores
from .base import (
    Job,
    JobContext,
    JobError,
    JobEvent,
    JobProgress,
    JobResult,
    thread_env,
)
from .tools import ToolRunner

TICK_S = 1.0


def visible_gpus() -> list[str]:
    """Return the GPUs that a new process would see, named as in ``CUDA_VISIBLE_DEVICES``."""
    count = torch.cuda.device_count()
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',')[:count] if named else [str(i) for i in range(count)]


class LocalEngine:
    """Runs each job in a thread that waits for subprocesses.

    Args:
        jobs (int, optional): Jobs that run at once. Defaults to one per group of GPUs, or 1. If
            there are more jobs than groups, jobs share groups.
        cpus_per_run (int, optional): Threads per job. Defaults to an equal part of the cores.
        gpus_per_run (int, optional): GPUs per job. Defaults to 1, or 0 without GPUs.
        gpus (Sequence[str], optional): GPUs to distribute. Defaults to all visible ones.

    Raises:
        ValueError: A number is out of range.
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
                f'gpus_per_run is {gpus_per_run}, expected 0 to {len(gpus)}, the number of '
                'GPUs of this machine'
            )
        size = self.gpus_per_run
        groups = [gpus[i : i + size] for i in range(0, len(gpus) - size + 1, size)] if size else []
        self.jobs = len(groups) or 1 if jobs is None else jobs
        if self.jobs < 1:
            raise ValueError(f'jobs is {jobs}, expected at least 1')
        self.cpus_per_run = (
            max(count_cores() // self.jobs, 1) if cpus_per_run is None else cpus_per_run
        )
        if self.cpus_per_run < 1:
            raise ValueError(f'cpus_per_run is {cpus_per_run}, expected at least 1')
        # None leaves CUDA_VISIBLE_DEVICES unchanged.
        self.groups = [groups[i % len(groups)] if groups else None for i in range(self.jobs)]

    def run(self, jobs: Sequence[Job]) -> Generator[JobEvent, None, None]:
        """See :class:`Engine`."""
        free: queue.Queue = queue.Queue()
        for group in self.groups:
            free.put(group)
        events: queue.Queue = queue.Queue()
        tools = ToolRunner(thread_env(self.cpus_per_run))

        def work(job: Job) -> None:
            def report(fraction: float, status: str) -> None:
                events.put(JobProgress(job.name, fraction, status))

            group = free.get()
            own = {} if group is None else {'CUDA_VISIBLE_DEVICES': ','.join(group)}
            context = JobContext(tools.with_env(own), report, self.cpus_per_run, self.gpus_per_run)
            try:
                events.put(JobResult(job.name, job.call(context)))
            except Exception as error:  # the other jobs continue
                events.put(JobError(job.name, error))
            finally:
                free.put(group)

        pool = ThreadPoolExecutor(self.jobs)
        try:
            for job in jobs:
                pool.submit(work, job)
            remaining = len(jobs)
            while remaining:
                try:
                    event = events.get(timeout=TICK_S)
                except queue.Empty:
                    event = None  # lets the caller handle an interruption
                remaining -= isinstance(event, (JobResult, JobError))
                yield event
        finally:
            # Start nothing more and leave nothing running, however the generator ends.
            pool.shutdown(wait=False, cancel_futures=True)
            tools.stop()
            pool.shutdown()
