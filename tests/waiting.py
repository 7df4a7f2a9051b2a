"""Waits for other processes with a time limit, and ends those that are left."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path


def wait_until(condition, what, seconds=240):
    """Return once ``condition()`` is true; fail with a message after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited {seconds} s in vain until {what}'
        time.sleep(0.02)


@contextmanager
def started(command, **kwargs):
    """Start a process in its own session, which is killed at the end."""
    process = subprocess.Popen([str(word) for word in command], start_new_session=True, **kwargs)
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(60)


def running_in(directory):
    """Return the command lines of processes that name a path in a directory."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().split(b'\0')
        except OSError:  # it is gone
            continue
        if any(word.startswith(str(directory).encode()) for word in words):
            found.append(words)
    return found
