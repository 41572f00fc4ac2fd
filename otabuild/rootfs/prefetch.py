"""A stream that a thread prepares: it decompresses and hashes while chunks are processed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress

_AHEAD = 8
"""The maximum number of waiting chunks. The size of a decoder's output is bounded, so memory is
bounded, too."""


def prefetched(chunks: Iterable[bytes]) -> Generator[bytes]:
    """Yield the same chunks, and an exception of the source where it would have occurred.

    The thread ends with the stream, also when the stream is closed early.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    closed = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        # Not one put without an end: whoever closed the stream takes nothing out any more.
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
