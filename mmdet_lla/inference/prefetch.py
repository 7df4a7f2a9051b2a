"""Prefetches the items of an iterator in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')

_END = object()


def prefetch(items: Iterable[T], size: int, drop_oldest: bool = False) -> Iterator[T]:
    """Yield items in their order while a thread prepares the next ones.

    An exception of ``items`` is raised here. The thread ends at the next item after the consumer.

    Args:
        items (Iterable): Iterated in another thread.
        size (int): Size of the buffer.
        drop_oldest (bool): Whether a new item replaces the oldest one of a full buffer, instead of
            waiting for the consumer. Defaults to False.

    Example:
        >>> list(prefetch(range(4), size=2))
        [0, 1, 2, 3]
    """
    buffer: queue.Queue = queue.Queue(size)
    stopped = threading.Event()

    def put(item) -> None:
        while not stopped.is_set():
            try:
                buffer.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                if drop_oldest and buffer.full():
                    try:
                        buffer.get_nowait()
                    except queue.Empty:
                        pass
                put((item, None))
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  (raised again in the consumer)
            put((_END, error))
        else:
            put((_END, None))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error = buffer.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
