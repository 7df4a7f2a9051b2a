"""Joins the other processes of a training or a test on CPUs, and leaves them on any device.

Needs torch alone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GLOO_THREAD = 'pt_gloo_runloop'  # torch's name for a thread that carries out collectives
REST_S = 10.0  # for a thread of gloo's that never rests
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def end_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; under Linux alone.

    Args:
        parent (int): Its process ID, noted earlier: this process ends if it has died since.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def join_by_torch(backend: str, init_backend: str = 'torch', **kwargs) -> None:
    """Join those that torchrun started, whatever the backend asked for."""
    torch.distributed.init_process_group('gloo', **kwargs)


def join_by_slurm(backend: str, port: int | None = None, **kwargs) -> None:
    """Join those that Slurm started, as torchrun's."""
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
    """Leave the other processes, if this one joined any.

    Without it a thread of gloo's may end the process with "terminate called without an active
    exception" and status -6, after all its work: such a thread holds the tensors of a collective a
    little longer than whoever waits for it, and cannot give them back to an interpreter that ends.

    Args:
        done (bool): Whether this process has done all its work. One that failed leaves no group of
            NCCL's, which would wait for the others, who wait for it. Defaults to False.
    """
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return
    _let_gloo_rest()  # a model under DDP keeps the group and its threads alive beyond the next line
    if done or 'nccl' not in str(group.get_backend_config()):
        group.destroy_process_group()


def _let_gloo_rest() -> None:
    """Wait until gloo's threads sleep and have not run for a while; under Linux alone."""
    end = time.monotonic() + REST_S
    before, now = None, _gloo_threads()
    while (now != before or any('R (running)' in one for one in now)) and time.monotonic() < end:
        time.sleep(0.02)  # without Python's lock, which they may want
        before, now = now, _gloo_threads()


def _gloo_threads() -> list[tuple[str, ...]]:
    """State of each of gloo's threads, and how often it began to wait or was made to."""
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
    """Whatever ends the work, also Ctrl-C and SIGTERM, leave the other processes before the end."""
    leaving_on = (signal.SIGINT, signal.SIGTERM)
    owner = os.getpid()

    def leave(number: int, frame) -> None:
        if os.getpid() != owner:  # a child that was forked has nothing to leave
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for one in leaving_on:  # torchrun may send a second while the first is obeyed
            signal.signal(one, signal.SIG_IGN)
        os.write(2, f'Ended by {signal.Signals(number).name}\n'.encode())  # print may be busy
        sys.exit(128 + number)

    # A shell's background job ignores Ctrl-C, and is to go on doing so.
    before = {one: signal.getsignal(one) for one in leaving_on}
    for one, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(one, leave)
    done = False
    try:
        yield
        done = True
    finally:
        leave_processes(done)
        for one, handler in before.items():
            if signal.getsignal(one) is leave:
                signal.signal(one, handler)
