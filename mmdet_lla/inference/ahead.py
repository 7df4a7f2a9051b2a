"""Runs an iterator ahead of its consumer, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')

_END = object()


def ahead(items: Iterable[T], number: int, newest: bool = False) -> Iterator[T]:
    """The same items, of which up to ``number`` are made ready before they are asked for.

    What ``items`` raises is raised here. When the consumer goes, the thread ends at the next item.

    Args:
        items (Iterable): Iterated in another thread.
        number (int): How many wait at most.
        newest (bool): Whether the oldest that waits gives way to a new one, instead of the new one
            having to wait. Defaults to False.
    """
    waiting: queue.Queue = queue.Queue(number)
    gone = threading.Event()

    def put(item) -> None:
        while not gone.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                if newest and waiting.full():
                    try:
                        waiting.get_nowait()
                    except queue.Empty:
                        pass
                put((item, None))
                if gone.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  (raised again where it is seen)
            put((_END, error))
        else:
            put((_END, None))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        gone.set()
        thread.join()
