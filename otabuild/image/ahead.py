"""Fetches the blobs that will be read next, while others are worked on: requests mostly wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from otabuild.errors import ContainerError, IntegrityError
from otabuild.format.digest import Blob, blob_name
from otabuild.storage.backend import Backend, Wanted

T = TypeVar("T")
_REQUESTS = 16
_WINDOW = 16 << 20
"""Bytes that are held at most, those under way included."""
_LARGEST = 2 << 20
"""A larger blob is not worth the room: whoever reads it waits for the line, not for the answer."""
_ITEMS = 64


class _Fetch:
    """A blob that will be read `uses` times; its result is None if the reader should see why."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.wanted = Wanted(blob_name(blob.digest), blob.size)
        self.uses = 1
        self.result: Future[bytes | None] = Future()
        self.is_asked_for = False


class FetchAhead:
    """Blobs of a remote image, fetched in the order of their reading. They are not verified here.

    Whoever takes a blob that was not fetched yet gets nothing, and reads it directly, so nobody
    waits for another.
    """

    def __init__(self, source: Backend) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._waiting: deque[_Fetch] = deque()
        self._known: dict[bytes, _Fetch] = {}
        self._held = 0
        self._under_way = 0
        self._is_complete = False
        self._threads = ThreadPoolExecutor(_REQUESTS)

    def over(self, items: Iterable[T], blobs_of: Callable[[T], Iterable[Blob]]) -> Iterator[T]:
        """Yield items later than they come, and meanwhile fetch the blobs that they need."""
        queue: deque[T] = deque()
        for item in items:
            queue.append(item)
            self._expect(blobs_of(item))
            if len(queue) == _ITEMS:
                yield queue.popleft()
        with self._lock:
            self._is_complete = True
            self._fill()
        yield from queue

    def _expect(self, blobs: Iterable[Blob]) -> None:
        with self._lock:
            for blob in blobs:
                if known := self._known.get(blob.digest):
                    known.uses += 1
                elif blob.size <= _LARGEST and self._is_sound(blob):
                    self._known[blob.digest] = fetch = _Fetch(blob)
                    self._waiting.append(fetch)
            self._fill()

    def _is_sound(self, blob: Blob) -> bool:
        return (
            not self._source.knows_sizes or self._source.size(blob_name(blob.digest)) == blob.size
        )

    def take(self, digest: bytes) -> bytes | None:
        """Return the bytes of a blob that was fetched, once; None if it must be read directly.

        Raises:
            OtabuildError: fetching it failed.
        """
        with self._lock:
            fetch = self._known.get(digest)
            if fetch is None:
                return None
            if not fetch.is_asked_for:
                self._drop(fetch)
                return None
        try:
            return fetch.result.result()
        finally:
            with self._lock:
                self._drop(fetch)

    def forget(self, blobs: Iterable[Blob]) -> None:
        """Drop what was expected to be read, and was not, as something before it is damaged."""
        with self._lock:
            for blob in blobs:
                if fetch := self._known.get(blob.digest):
                    self._drop(fetch)

    def _drop(self, fetch: _Fetch) -> None:
        fetch.uses -= 1
        if fetch.uses > 0 or self._known.get(fetch.blob.digest) is not fetch:
            return
        del self._known[fetch.blob.digest]
        if not fetch.is_asked_for:
            self._waiting.remove(fetch)
        else:
            self._held -= fetch.blob.size
            self._fill()

    def _fill(self) -> None:
        while self._under_way < _REQUESTS and (run := self._next_run()):
            for fetch in run:
                self._waiting.popleft()
                fetch.is_asked_for = True
                self._held += fetch.blob.size
            self._under_way += 1
            self._threads.submit(self._load, run)

    def _next_run(self) -> list[_Fetch]:
        """Return what is fetched together next; nothing without room, or while more may join it."""
        run: list[_Fetch] = []
        files: list[Wanted] = []
        held = self._held
        for fetch in self._waiting:
            if run and not self._source.joins(files, fetch.wanted):
                return run
            held += fetch.blob.size
            if held > _WINDOW:
                return []
            run.append(fetch)
            files.append(fetch.wanted)
        return run if self._is_complete else []

    def _load(self, run: Sequence[_Fetch]) -> None:
        try:
            if len(run) == 1:
                contents: Sequence[bytes | None] = [self._load_one(run[0])]
            else:
                contents = self._source.fetch_joined([fetch.wanted for fetch in run])
        except (IntegrityError, ContainerError):
            # Each reader asks again for its own blob, and tells what is wrong with it.
            contents = [None] * len(run)
        except BaseException as error:  # noqa: BLE001 -- raised again where the blob is read
            for fetch in run:
                fetch.result.set_exception(error)
            contents = ()
        for fetch, content in zip(run, contents, strict=bool(contents)):
            fetch.result.set_result(content)
        with self._lock:
            self._under_way -= 1
            self._fill()

    def _load_one(self, fetch: _Fetch) -> bytes:
        found = bytearray()
        for part in self._source.chunks(fetch.wanted.name):
            found += part
            if len(found) > fetch.blob.size:  # enough to see that it is wrong
                break
        return bytes(found)

    def close(self) -> None:
        """Give up what was not asked for yet, and wait for the rest."""
        with self._lock:
            self._waiting.clear()
        self._threads.shutdown()
