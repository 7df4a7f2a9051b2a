"""An orderly exit on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(
    getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)
)


@contextmanager
def orderly_exit(numbers: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[None]:
    """Turn signals into ``SystemExit(128 + number)``, so that ``finally`` blocks run.

    A signal that is ignored, as by ``nohup`` or a shell's background job, stays ignored. Signals
    that follow the first are ignored, so that none interrupts the cleanup. Outside the main thread
    Python has no signal handlers, and this does nothing.

    Example:
        >>> try:
        ...     with orderly_exit():
        ...         signal.raise_signal(signal.SIGTERM)
        ... except SystemExit as end:
        ...     print(end.code)
        143
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def leave(number: int, frame) -> None:
        if os.getpid() != owner:  # a forked child has nothing to clean up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        os.write(2, f'Ended by {signal.Signals(number).name}\n'.encode())  # print may be busy
        sys.exit(128 + number)

    before = {}
    try:
        for one in numbers:
            if signal.getsignal(one) not in (signal.SIG_IGN, None):
                before[one] = signal.signal(one, leave)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
