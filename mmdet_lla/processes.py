"""Joins the process group of a training or test on CPUs, and leaves it on any device."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .utils.signals import orderly_exit

GLOO_THREAD = 'pt_gloo_runloop'  # torch's name for a thread that runs collectives
MAX_WAIT_S = 10.0  # for a thread of gloo that is never idle


def join_by_torch(backend: str, init_backend: str = 'torch', **kwargs) -> None:
    """Join the processes that torchrun started through gloo, whatever backend is asked for."""
    torch.distributed.init_process_group('gloo', **kwargs)


def join_by_slurm(backend: str, port: int | None = None, **kwargs) -> None:
    """Join the processes that Slurm started, as those of torchrun."""
    for name, value in dict(
        RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'
    ).items():
        os.environ[name] = os.environ[value]
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        os.environ['MASTER_ADDR'] = hosts.split()[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    join_by_torch(backend, **kwargs)


def leave_processes(done: bool = False) -> None:
    """Leave the process group, if this process joined one.

    Without this, a thread of gloo may abort the process after all its work with "terminate called
    without an active exception" and status -6: it holds the tensors of a collective a little longer
    than whoever waits for it, and cannot return them to an interpreter that ends.

    Args:
        done (bool): Whether this process has finished its work. After a failure, a group of NCCL is
            not left, because that would wait for the other processes. Defaults to False.

    >>> leave_processes()
    """
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return
    # A model under DDP keeps the group and its threads alive after it is destroyed.
    _wait_until_gloo_is_idle()
    if done or 'nccl' not in str(group.get_backend_config()):
        group.destroy_process_group()


def _wait_until_gloo_is_idle() -> None:
    """Wait until gloo's threads sleep and have not run for a while; on Linux only."""
    end = time.monotonic() + MAX_WAIT_S
    before, now = None, _gloo_threads()
    while (now != before or any('R (running)' in one for one in now)) and time.monotonic() < end:
        time.sleep(0.02)  # without Python's lock, which they may need
        before, now = now, _gloo_threads()


def _gloo_threads() -> list[tuple[str, ...]]:
    """State and number of context switches of each of gloo's threads."""
    found = []
    for status in Path('/proc/self/task').glob('*/status'):
        try:
            lines = status.read_text().splitlines()
        except OSError:  # it has ended
            continue
        if lines[0].endswith(GLOO_THREAD):
            found.append(tuple(one for one in lines if one.startswith('State') or 'ctxt' in one))
    return found


@contextmanager
def orderly_end() -> Iterator[None]:
    """Leave the process group whatever ends the work, also Ctrl-C and SIGTERM."""
    done = False
    with orderly_exit((signal.SIGINT, signal.SIGTERM)):  # a shell's SIGHUP ends no training
        try:
            yield
            done = True
        finally:
            leave_processes(done)
