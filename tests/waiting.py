"""Waits for what other processes do."""

import time


def wait_until(condition, seconds=240):
    """Return once ``condition()`` is true; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)
