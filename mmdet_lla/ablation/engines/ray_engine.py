"""Runs jobs on a cluster of Ray's, each where there is room for it, again where one is lost.

All that is Ray's is in this module (``pip install mmdet-lla[ray]``).
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

from .engine import Done, Event, Failed, Job, Place, Said, Told, threads
from .processes import Processes, ToolFailed

TICK_S = 1.0
TELL_S = 0.5  # a job tells no more often
GRACE_S = 15.0  # for jobs to end their tools when the study is interrupted
STARTS = 4  # tries to start a cluster: Ray gives a node 30 s, which is little on a busy machine
LAST_S = 5.0  # for a worker to end whose tool was killed
LOOK_S = 300.0  # for a node to say what it sees; a busy one starts processes slowly


class RayEngine:
    """Tasks of Ray's, which wait for processes.

    A task whose worker or node is lost is tried again, elsewhere if need be; one that raises is
    not. Work directory, current folder, data and this package have to lie on a file system that
    all nodes share, under the same path.

    Args:
        work_dir (Path): Of the study; a new file in it is looked for on each node at the start.
        address (str, optional): Cluster to join, 'auto' for the one of this machine. Defaults to
            None: one is started here, and ended with the study.
        jobs (int, optional): How many at once, at most. Defaults to as many as there is room for.
        cpus_per_run (int, optional): Threads and cores of each. Defaults to 4 a GPU, or 1.
        gpus_per_run (int, optional): GPUs of each, on one node. Defaults to 1 where a node has
            one, else 0.
        retries (int): How often a job is tried again after its place was lost. Defaults to 3.

    Raises:
        ValueError: A number is out of its range.
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
        for what, value, least in (
            ('jobs', jobs, 1),
            ('cpus_per_run', cpus_per_run, 1),
            ('gpus_per_run', gpus_per_run, 0),
            ('retries', retries, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f'{what} is {value}, expected at least {least}')
        self.work_dir = work_dir
        self.address = address
        self.jobs = jobs
        self.cpus_per_run = cpus_per_run
        self.gpus_per_run = gpus_per_run
        self.retries = retries

    def run(self, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        """See :class:`Engine`.

        Raises:
            ConnectionError: There is no cluster at the address.
            ValueError: A node does not see what has to be shared.
        """
        with _cluster(self.address), _token(self.work_dir) as token:
            needs = dict.fromkeys(path for job in jobs for path in job.needs)
            nodes = [node for node in ray.nodes() if node['Alive']]
            gpus = self.gpus_per_run
            if gpus is None:
                gpus = int(any(node['Resources'].get('GPU', 0) >= 1 for node in nodes))
            cpus = self.cpus_per_run or max(4 * gpus, 1)
            yield from self._look(nodes, [token, *needs], cpus, gpus)
            yield from self._run(jobs, token, cpus, gpus)

    def _look(self, nodes: list[dict], shared: list[Path], cpus: int, gpus: int) -> Iterator[Event]:
        """Raise if a node lacks what is shared; say what may be a mistake."""
        here = ray.get_runtime_context().get_node_id()
        nodes = sorted(nodes, key=lambda node: node['NodeID'] != here)  # this one first
        looks = _look_around(nodes, [Path.cwd(), *shared])
        left, end = list(looks), time.monotonic() + LOOK_S
        while left and time.monotonic() < end:
            _, left = ray.wait(left, num_returns=len(left), timeout=TICK_S)
            yield None
        own = None
        for look, node in looks.items():
            try:
                host, missing, versions = ray.get(look, timeout=0 if look in left else TICK_S)
            except ray.exceptions.RayError as error:  # it was lost, or is too busy
                yield Said(
                    f'node {node["NodeManagerHostname"]} did not say what it sees '
                    f'({type(error).__name__}); a run that is placed there looks again'
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
                yield Said(
                    f'node {host} has {versions}, here are {own}: runs that move between '
                    'them need not end with the same weights'
                )
        if not any(
            node['Resources'].get('CPU', 0) >= cpus and node['Resources'].get('GPU', 0) >= gpus
            for node in nodes
        ):
            have = ', '.join(
                f'{node["Resources"].get("CPU", 0):.0f} and {node["Resources"].get("GPU", 0):.0f}'
                for node in nodes
            )
            yield Said(
                f'no node has {cpus} cores and {gpus} GPUs for a run (there are {have}): waiting '
                'for one that does'
            )

    def _run(self, jobs: Sequence[Job], token: Path, cpus: int, gpus: int) -> Iterator[Event]:
        board = _new_board()
        place = _call.options(
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
                    ref = place.remote(job, cpus, gpus, os.getcwd(), token, board)
                    running[ref] = job.name
                ready, _ = ray.wait(list(running), timeout=TICK_S)
                for name, told in _take(board).items():
                    if name in running.values():  # not what came after its end
                        yield Told(name, *told)
                if not ready:
                    yield None  # an interruption is seen between two waits
                for ref in ready:
                    name = running.pop(ref)
                    yield _outcome(name, ref)
        finally:
            _end(list(running))
            ray.kill(board)


def _outcome(name: str, ref) -> Done | Failed:
    try:
        done, value = ray.get(ref)
    except ray.exceptions.RayError as error:  # its places were lost, again and again
        return Failed(name, RuntimeError(f'{type(error).__name__}: {error}'))
    return Done(name, value) if done else Failed(name, value)


def _end(running: list) -> None:
    """Interrupt tasks, so that they end their tools; kill those that do not."""
    for ref in running:
        ray.cancel(ref)
    if running:
        ray.wait(running, num_returns=len(running), timeout=GRACE_S)
    for ref in running:
        ray.cancel(ref, force=True)


def _take(board) -> dict[str, tuple[float, str]]:
    """What was written on the board since the last time; nothing while it cannot be read."""
    try:
        return ray.get(board.take.remote(), timeout=TICK_S)
    except ray.exceptions.RayError:  # it is being started, again if its process was killed
        return {}


def _new_board() -> Any:
    """Where jobs write how far they are; lives with the driver, whatever node is lost."""

    # Ray sends a class from within a function as code, so its process need not import this package.
    class Board:
        def __init__(self) -> None:
            self.told: dict[str, tuple[float, str]] = {}

        def tell(self, name: str, share: float, words: str) -> None:
            self.told[name] = (share, words)

        def take(self) -> dict[str, tuple[float, str]]:
            told, self.told = self.told, {}
            return told

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = dict(num_cpus=0, scheduling_strategy=here, max_restarts=-1)
    return ray.remote(Board).options(**options).remote()


def _look_around(nodes: list[dict], paths: list[Path]) -> dict[Any, dict]:
    """Reference: node; its host, what of the paths it does not see, and versions are to come."""

    def look() -> tuple[str, list[str], dict[str, str]]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        versions = {'python': platform.python_version()}
        for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmdet-lla'):
            try:
                versions[name] = version(name)
            except PackageNotFoundError:  # a fork, or a checkout
                versions[name] = 'not installed'
        return platform.node(), [str(path) for path in paths if not path.exists()], versions

    task = ray.remote(look)
    return {
        task.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node['NodeID'], soft=False),
        ).remote(): node
        for node in nodes
    }


@ray.remote
def _call(job: Job, cpus: int, gpus: int, cwd: str, token: Path, board) -> tuple[bool, Any]:
    """Do a job here. Gives whether it was done, and what it returned or raised."""
    last = -TELL_S

    def tell(share: float, words: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_S:
            last = time.monotonic()
            board.tell.remote(job.name, share, words)

    if not token.exists():  # on a node that came later
        return False, FileNotFoundError(
            f'node {platform.node()} does not see {token.parent}, expected a folder that all '
            'nodes share'
        )
    os.chdir(cwd)
    processes = Processes(threads(cpus))
    outcome: list[tuple[bool, Any]] = []

    def work() -> None:
        try:
            outcome.append((True, job.call(Place(processes, tell, cpus, gpus))))
        except Exception as error:  # of a job: not tried again
            outcome.append((False, _portable(error)))

    # Ray's interruption does not wake who waits for a tool; it is seen between two waits here.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(TICK_S)
    finally:
        processes.stop()
        thread.join()
    done, value = outcome[0]
    if isinstance(value, ToolFailed) and value.status == -signal.SIGKILL:
        # A worker that loses its node kills what it started, and then ends. Only if it does not
        # end was it the tool alone that was killed, and trying again is no answer to that.
        time.sleep(LAST_S)
    return done, value


def _python_path() -> str:
    """Where tasks find this package, installed or not, and what else the driver was told of."""
    package = Path(__file__).parents[3]
    return os.pathsep.join([str(package), *filter(None, [os.environ.get('PYTHONPATH')])])


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error


@contextmanager
def _token(work_dir: Path) -> Iterator[Path]:
    """A file of this moment in a folder, for nodes to look for."""
    token = work_dir / f'.shared-{os.getpid()}-{time.time_ns()}'
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Join a cluster or start one, and leave it; one that is joined already stays."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    # Ray takes SIGTERM for itself, but the tool has its own way out.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = dict(log_to_driver=False, logging_level=logging.WARNING)
    if address:
        ray.init(address=address, **quiet)
    else:
        _start(**quiet)
    if main:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _start(**kwargs: Any) -> None:
    """Start a cluster here, and join it.

    Raises:
        ConnectionError: Its node did not come up.
    """
    # Runs are no background work: Ray's own 15 would starve them beside other processes.
    config = {'worker_niceness': 0}
    for left in reversed(range(STARTS)):
        try:
            ray.init('local', include_dashboard=False, _system_config=config, **kwargs)
            return
        except Exception as error:  # Ray has no class of its own for it
            ray.shutdown()
            if 'timed out' not in str(error):
                raise
            if not left:
                raise ConnectionError(f'Ray did not start in {STARTS} tries: {error}') from error
