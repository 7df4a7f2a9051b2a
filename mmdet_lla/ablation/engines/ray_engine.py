"""Run jobs on a Ray cluster and retry those whose worker or node is lost.

Only this module imports Ray (``pip install mmdet-lla[ray]``).
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .base import (
    Job,
    JobContext,
    JobError,
    JobEvent,
    JobMessage,
    JobProgress,
    JobResult,
    thread_env,
)
from .tools import ToolFailed, ToolRunner

TICK_S = 1.0
REPORT_S = 0.5  # shortest time between two progress reports of a job
GRACE_S = 15.0  # for jobs to terminate their tools when the study is interrupted
STARTS = 4  # attempts to start a cluster: Ray allows a node 30 s, too short on a busy machine
WORKER_EXIT_S = 5.0  # for a worker to end after its tool was killed
CHECK_S = 300.0  # for a node to report; a busy one starts processes slowly


class RayEngine:
    """Runs each job as a Ray task that waits for subprocesses.

    A task whose worker or node is lost is retried, on another node if necessary; a task that raises
    an exception is not. Work directory, current directory, data and this package must lie on a
    shared file system under the same path on all nodes.

    Args:
        work_dir (Path): Work directory of the study. Each node must see a new file in it.
        address (str, optional): Cluster to join, 'auto' for the one of this machine. Defaults to
            None, which starts a cluster and shuts it down with the study.
        jobs (int, optional): Maximum number of concurrent jobs. Defaults to what the resources
            permit.
        cpus_per_run (int, optional): Cores and threads per job. Defaults to 4 per GPU, or 1.
        gpus_per_run (int, optional): GPUs per job, on one node. Defaults to 1 if a node has a GPU,
            else 0.
        retries (int): Retries of a job after its worker was lost. Defaults to 3.

    Raises:
        ValueError: A number is out of range.
    """

    name = 'ray'

    def __init__(
        self,
        work_dir: Path,
        address: str | None = None,
        jobs: int | None = None,
        cpus_per_run: int | None = None,
        gpus_per_run: int | None = None,
        retries: int = 3,
    ) -> None:
        for name, value, minimum in (
            ('jobs', jobs, 1),
            ('cpus_per_run', cpus_per_run, 1),
            ('gpus_per_run', gpus_per_run, 0),
            ('retries', retries, 0),
        ):
            if value is not None and value < minimum:
                raise ValueError(f'{name} is {value}, expected at least {minimum}')
        self.work_dir = work_dir
        self.address = address
        self.jobs = jobs
        self.cpus_per_run = cpus_per_run
        self.gpus_per_run = gpus_per_run
        self.retries = retries

    def run(self, jobs: Sequence[Job]) -> Generator[JobEvent, None, None]:
        """See :class:`Engine`.

        Raises:
            ConnectionError: No cluster is reachable at the address.
            ValueError: A node does not see a shared path.
        """
        with _cluster(self.address), _token(self.work_dir) as token:
            inputs = dict.fromkeys(path for job in jobs for path in job.inputs)
            nodes = [node for node in ray.nodes() if node['Alive']]
            gpus = self.gpus_per_run
            if gpus is None:
                gpus = int(any(node['Resources'].get('GPU', 0) >= 1 for node in nodes))
            cpus = self.cpus_per_run or max(4 * gpus, 1)
            yield from self._check_nodes(nodes, [token, *inputs], cpus, gpus)
            yield from self._run(jobs, token, cpus, gpus)

    def _check_nodes(
        self, nodes: list[dict], shared: list[Path], cpus: int, gpus: int
    ) -> Iterator[JobEvent]:
        """Raise if a node does not see a shared path; warn about different versions."""
        here = ray.get_runtime_context().get_node_id()
        nodes = sorted(nodes, key=lambda node: node['NodeID'] != here)  # this one first
        checks = _start_checks(nodes, [Path.cwd(), *shared])
        pending, end = list(checks), time.monotonic() + CHECK_S
        while pending and time.monotonic() < end:
            _, pending = ray.wait(pending, num_returns=len(pending), timeout=TICK_S)
            yield None
        own = None
        for check, node in checks.items():
            try:
                host, missing, versions = ray.get(check, timeout=0 if check in pending else TICK_S)
            except ray.exceptions.RayError as error:  # the node was lost or is too busy
                yield JobMessage(
                    f'node {node["NodeManagerHostname"]} did not answer '
                    f'({type(error).__name__}); a run that is placed there checks again'
                )
                continue
            if missing:
                raise ValueError(
                    f'node {host} does not see {", ".join(missing)}; the work directory, the '
                    'configs and the data must lie on a file system that all nodes share, under '
                    'the same path'
                )
            own = own or versions
            if versions != own:
                yield JobMessage(
                    f'node {host} has {versions}, this node has {own}: runs that move between '
                    'them may end with different weights'
                )
        if not any(
            node['Resources'].get('CPU', 0) >= cpus and node['Resources'].get('GPU', 0) >= gpus
            for node in nodes
        ):
            have = ', '.join(
                f'{node["Resources"].get("CPU", 0):.0f} and {node["Resources"].get("GPU", 0):.0f}'
                for node in nodes
            )
            yield JobMessage(
                f'no node has {cpus} cores and {gpus} GPUs for a run (there are {have}): waiting '
                'for one that does'
            )

    def _run(self, jobs: Sequence[Job], token: Path, cpus: int, gpus: int) -> Iterator[JobEvent]:
        store = _new_progress_store()
        task = _call.options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=self.retries,
            runtime_env={'env_vars': {'PYTHONPATH': _python_path()}},
        )
        waiting = list(jobs)
        running: dict[Any, str] = {}
        try:
            while waiting or running:
                while waiting and (self.jobs is None or len(running) < self.jobs):
                    job = waiting.pop(0)
                    ref = task.remote(job, cpus, gpus, os.getcwd(), token, store)
                    running[ref] = job.name
                ready, _ = ray.wait(list(running), timeout=TICK_S)
                for name, progress in _take(store).items():
                    if name in running.values():  # ignore reports after the end
                        yield JobProgress(name, *progress)
                if not ready:
                    yield None  # lets the caller handle an interruption
                for ref in ready:
                    name = running.pop(ref)
                    yield _outcome(name, ref)
        finally:
            _cancel(list(running))
            ray.kill(store)


def _outcome(name: str, ref) -> JobResult | JobError:
    try:
        done, value = ray.get(ref)
    except ray.exceptions.RayError as error:  # its workers were lost too often
        return JobError(name, RuntimeError(f'{type(error).__name__}: {error}'))
    return JobResult(name, value) if done else JobError(name, value)


def _cancel(running: list) -> None:
    """Interrupt tasks so that they terminate their tools; kill those that do not end."""
    for ref in running:
        ray.cancel(ref)
    if running:
        ray.wait(running, num_returns=len(running), timeout=GRACE_S)
    for ref in running:
        ray.cancel(ref, force=True)


def _take(store) -> dict[str, tuple[float, str]]:
    """Return progress reports since the last call; none while the store is unavailable."""
    try:
        return ray.get(store.take.remote(), timeout=TICK_S)
    except ray.exceptions.RayError:  # it is starting, or restarting after its process was killed
        return {}


def _new_progress_store() -> Any:
    """Create the actor that collects progress on the driver's node, whatever node is lost."""

    # Ray ships a local class as code, so its process need not import this package.
    class ProgressStore:
        def __init__(self) -> None:
            self.reports: dict[str, tuple[float, str]] = {}

        def report(self, name: str, fraction: float, status: str) -> None:
            self.reports[name] = (fraction, status)

        def take(self) -> dict[str, tuple[float, str]]:
            reports, self.reports = self.reports, {}
            return reports

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = dict(num_cpus=0, scheduling_strategy=here, max_restarts=-1)
    return ray.remote(ProgressStore).options(**options).remote()


def _start_checks(nodes: list[dict], paths: list[Path]) -> dict[Any, dict]:
    """Start a task per node that returns its host, the paths it does not see, and versions."""

    def check() -> tuple[str, list[str], dict[str, str]]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        versions = {'python': platform.python_version()}
        for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmdet-lla'):
            try:
                versions[name] = version(name)
            except PackageNotFoundError:  # a fork or a checkout
                versions[name] = 'not installed'
        return platform.node(), [str(path) for path in paths if not path.exists()], versions

    task = ray.remote(check)
    return {
        task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node['NodeID'], soft=False),
        ).remote(): node
        for node in nodes
    }


@ray.remote
def _call(job: Job, cpus: int, gpus: int, cwd: str, token: Path, store) -> tuple[bool, Any]:
    """Run a job on this worker; return whether it succeeded, and its result or exception."""
    last = -REPORT_S

    def report(fraction: float, status: str) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_S:
            last = time.monotonic()
            store.report.remote(job.name, fraction, status)

    if not token.exists():  # on a node that joined later
        return False, FileNotFoundError(
            f'node {platform.node()} does not see {token.parent}, expected a directory that '
            'all nodes share'
        )
    os.chdir(cwd)
    tools = ToolRunner(thread_env(cpus))
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            outcome.append((True, job.call(JobContext(tools, report, cpus, gpus))))
        except Exception as error:  # not retried
            outcome.append((False, _portable(error)))

    # Ray's interruption does not wake a thread that waits for a tool, so this thread polls.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(TICK_S)
    finally:
        tools.stop()
        thread.join()
    done, value = outcome[0]
    if isinstance(value, ToolFailed) and value.status == -signal.SIGKILL:
        # A worker that loses its node kills its tools and then ends, and Ray retries the job. Only
        # if the worker survives was the tool itself killed, which a retry would not help.
        time.sleep(WORKER_EXIT_S)
    return done, value


def _python_path() -> str:
    """Return the PYTHONPATH of tasks: this package, installed or not, and the driver's own."""
    package = Path(__file__).parents[3]
    return os.pathsep.join([str(package), *filter(None, [os.environ.get('PYTHONPATH')])])


def _portable(error: Exception) -> Exception:
    """Return the exception, or one with the same message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickling may raise anything
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error


@contextmanager
def _token(work_dir: Path) -> Iterator[Path]:
    """Create a unique file in a directory, which all nodes must see."""
    token = work_dir / f'.shared-{os.getpid()}-{time.time_ns()}'
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Join or start a cluster, and leave it again; keep one that was joined before."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    # Ray installs its own SIGTERM handler; restore ours.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = dict(log_to_driver=False, logging_level=logging.WARNING)
    if address:
        ray.init(address=address, **quiet)
    else:
        _start_cluster(**quiet)
    if main:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _start_cluster(**kwargs: Any) -> None:
    """Start a cluster on this machine and join it.

    Raises:
        ConnectionError: Its node did not start.
    """
    # Ray's default niceness of 15 would starve runs beside other processes.
    config = {'worker_niceness': 0}
    for left in reversed(range(STARTS)):
        try:
            ray.init('local', include_dashboard=False, _system_config=config, **kwargs)
            return
        except Exception as error:  # Ray has no exception class for it
            ray.shutdown()
            if 'timed out' not in str(error):
                raise
            if not left:
                raise ConnectionError(f'Ray did not start in {STARTS} attempts: {error}') from error
