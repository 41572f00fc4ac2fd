"""Rebuilds many contents in parallel, each bundle once, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from itertools import islice
from typing import TypeVar

from otabuild.errors import OtabuildError, StorageError
from otabuild.format.digest import Blob, format_digest
from otabuild.image.blobs import Blobs, Chunk, verified
from otabuild.image.bounds import BoundsError
from otabuild.image.resources import Group, GroupMember

Chunks = Iterator[Chunk]
Opener = Callable[[], Chunks]
"""Return the content from its start, verified while it is read; may be called again."""

T = TypeVar("T")
T2 = TypeVar("T2")
_WORKERS = 2
_BATCH = 64


class _StoppedError(Exception):
    """Another worker failed; its error is the one to report."""


def run_parallel(work: Callable[[T, threading.Event], None], items: Iterable[T]) -> None:
    """Call `work` with each item in a few threads.

    Each thread takes its next item itself, one thread at a time: handing items over takes longer
    than most of the work. The first error stops everything and is raised; `work` gets an event that
    tells it to stop.
    """
    stop, turn, left = threading.Event(), threading.Lock(), iter(items)

    def run() -> None:
        while not stop.is_set():
            with turn:
                item = next(left, None)
            if item is None:
                return
            work(item, stop)

    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            running = [_submit(pool, run) for _ in range(_WORKERS)]
            for future in as_completed(running):
                future.result()
        except BaseException:
            stop.set()
            raise


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield items for `run_parallel`, some at a time.

    Handing over small ones individually would cost more than the work on them.
    """
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _submit(pool: ThreadPoolExecutor, run: Callable[[], None]) -> Future[None]:
    try:
        return pool.submit(run)
    except RuntimeError as error:
        raise StorageError("cannot start a thread", observed=error) from error


def rebuild(
    groups: Iterable[Group[T]],
    blobs: Blobs,
    deliver: Callable[[GroupMember[T], Opener], None],
    *,
    on_error: Callable[[OtabuildError], None] | None = None,
) -> None:
    """Rebuild contents in parallel, and pass each to `deliver`.

    Args:
        groups: what to rebuild, as `ResourceTable.groups` returns it; iterated in the worker
            threads, in one at a time.
        blobs: the blobs of the image.
        deliver: called from worker threads with a member of a group and an opener of its content.
            It must read to the end, and must not use what it read if that raised an error.
        on_error: receives the error of a content or bundle; without it, the first error stops
            everything.

    Raises:
        IntegrityError, StorageError: the first error, if `on_error` is None.
        BoundsError: the bounds of the image are exceeded.
    """

    def attempt(work: Callable[[], T2]) -> T2 | None:
        try:
            return work()
        except BoundsError:  # concerns all contents
            raise
        except OtabuildError as error:
            if on_error is None:
                raise
            on_error(error)
            return None

    def work(group: Group[T], stop: threading.Event) -> None:
        bundle = attempt(lambda: memoryview(_load(group, blobs, stop)))
        if bundle is None:
            blobs.done(_leaves(group))
            return
        for member in group.members:
            opener = partial(_open, member, bundle, blobs, stop)
            attempt(partial(deliver, member, opener))
        blobs.done(_leaves(group))

    with blobs.fetching(groups, _leaves) as fetched:
        run_parallel(work, fetched)


def _leaves(group: Group[T]) -> Iterator[Blob]:
    """Yield the blobs that a group is made of, in the order in which they are read."""
    for plan in (group.bundle, *(member.plan for member in group.members)):
        yield from () if plan is None else plan.leaves


def _open(
    member: GroupMember[T], bundle: memoryview, blobs: Blobs, stop: threading.Event
) -> Chunks:
    row = member.row
    if member.plan is not None:
        return member.plan.stream(blobs, partial(_check, stop))
    where = f"resource {format_digest(row.digest)}"
    blobs.budget.spend(row.size, where)
    return verified(
        (bundle[member.offset : member.offset + row.size],), row.digest, row.size, where
    )


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise _StoppedError


def _load(group: Group[T], blobs: Blobs, stop: threading.Event) -> bytearray:
    """Return the whole bundle of a group, or no bytes if it has none."""
    buffer = bytearray(group.bundle_size)
    at = 0
    for chunk in group.bundle.stream(blobs, partial(_check, stop)) if group.bundle else ():
        buffer[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer
