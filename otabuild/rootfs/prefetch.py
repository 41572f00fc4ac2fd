"""A stream that a thread of its own prepares ahead: decompression and hashing beside the work on what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress

_AHEAD = 8
"""Chunks that wait at most. What a decoder gives out at once is bounded, so memory is, too."""


def prefetched(chunks: Iterable[bytes]) -> Generator[bytes]:
    """The same chunks; the first exception of the source is raised where it would have been.

    The thread ends with the stream, also when that is closed early.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    closed = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not closed.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def fill() -> None:
        try:
            for chunk in chunks:
                put(chunk)
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 -- it is raised again in the other thread
            put(error)

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
