"""Many requests at a time, because each is mostly waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

REQUESTS = 16
"""How many at a time; more gives little, and servers begin to refuse."""


def in_parallel(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield what `work` returns for each item, in their order; few items are taken ahead.

    With one worker, everything happens in the calling thread, one after the other. The first error
    ends everything; what runs then is waited for, so that nothing happens later.
    """
    if workers == 1:
        yield from map(work, items)
        return
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > 2 * workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def do_all(work: Callable[[T], object], items: Iterable[T], workers: int) -> None:
    """Call `work` with each item, as `in_parallel` does."""
    for _ in in_parallel(work, items, workers):
        pass
