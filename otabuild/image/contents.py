"""Rebuilding many contents in parallel, each bundle once, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from otabuild.errors import OtabuildError, StorageError
from otabuild.format.digest import format_digest
from otabuild.format.resource_table import ResourceRow
from otabuild.image.blobs import Blobs, Chunk, verified
from otabuild.image.resources import Group

Chunks = Iterator[Chunk]
Opener = Callable[[], Chunks]
"""Gives the content from its start, verified as it is read; may be called again."""

T = TypeVar("T")
WORKERS = 2


class _StoppedError(Exception):
    """Another worker failed; its error is the one that counts."""


def run_parallel(work: Callable[[T, threading.Event], None], items: Iterable[T], workers: int = WORKERS) -> None:
    """Call `work` with each item in a few threads; few items are taken ahead.

    The first error stops everything and is raised; `work` gets an event that says when to stop.
    """
    stop = threading.Event()
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(running) >= 2 * workers:
                    running = _reap(running)
                running.add(_submit(pool, work, item, stop))
            while running:
                running = _reap(running)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _submit(
    pool: ThreadPoolExecutor, work: Callable[[T, threading.Event], None], item: T, stop: threading.Event
) -> Future[None]:
    try:
        return pool.submit(work, item, stop)
    except RuntimeError as error:
        raise StorageError("cannot start a thread", observed=error) from error


def _reap(running: set[Future[None]]) -> set[Future[None]]:
    done, running = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return running


def rebuild(
    groups: Iterable[Group],
    blobs: Blobs,
    deliver: Callable[[ResourceRow, Opener], None],
    *,
    on_error: Callable[[OtabuildError], None] | None = None,
    workers: int = WORKERS,
) -> None:
    """Make contents, in parallel, and hand each to `deliver`.

    Args:
        groups: what to make, as `ResourceTable.groups` gives it; taken from the calling thread only.
        blobs: the blobs of the image.
        deliver: called from worker threads with the row of a content and an opener of it. It must read to the end,
            and what it read counts only if that raised nothing.
        on_error: takes the error of a content or bundle; without it the first one stops everything.
        workers: how many threads.

    Raises:
        IntegrityError, StorageError: the first error, where there is no `on_error`.
    """

    def work(group: Group, stop: threading.Event) -> None:
        try:
            bundle = memoryview(_load(group, blobs, stop))
        except OtabuildError as error:
            if on_error is None:
                raise
            on_error(error)
            return
        for row, plan, offset in group.members:

            def opened(row: ResourceRow = row, part: memoryview = bundle[offset : offset + row.size]) -> Chunks:
                return verified((part,), row.digest, row.size, f"resource {format_digest(row.digest)}")

            opener = opened if plan is None else lambda plan=plan: _until(stop, plan.stream(blobs))
            try:
                deliver(row, opener)
            except OtabuildError as error:
                if on_error is None:
                    raise
                on_error(error)

    run_parallel(work, groups, workers)


def _until(stop: threading.Event, chunks: Chunks) -> Chunks:
    for chunk in chunks:
        if stop.is_set():
            raise _StoppedError
        yield chunk


def _load(group: Group, blobs: Blobs, stop: threading.Event) -> bytearray:
    """The whole bundle of a group; empty where it has none."""
    buffer = bytearray(group.bundle_size)
    at = 0
    for chunk in _until(stop, group.bundle.stream(blobs)) if group.bundle else ():
        buffer[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer
