"""Stores that obstore speaks to: S3, Google Cloud Storage, Azure, and web servers, or WebDAV.

obstore has one deadline for a whole request, which a large blob on a slow line would miss, and
gives up if a body breaks off. So bodies are taken in pieces here: each piece has a deadline, and
what breaks off goes on where it was.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError, PreconditionError

from otabuild.errors import IntegrityError, OtabuildError
from otabuild.storage import fs
from otabuild.storage.backend import CHUNK, NoSuchFileError, Wanted, range_of
from otabuild.storage.member import Member, member_chunks
from otabuild.stores.object_errors import (
    is_beyond_the_end,
    is_whole,
    may_pass,
    status_of,
    store_error,
)
from otabuild.stores.store import Store, StoreFile

if TYPE_CHECKING:
    from obstore import Attributes, BytesStream, GetOptions, GetResult, ListResult, ObjectMeta
    from obstore.store import ObjectStore as Remote

T = TypeVar("T")

_PIECE = 128 << 10
"""Bytes that must come within the deadline; what comes slower counts as standing still."""
_PART = 5 << 20
"""Bytes that are sent in one request; the least that S3 takes as a part of a larger upload."""
_RATE = 16 << 10
"""Bytes a second below which an upload counts as standing still."""
_LOOK = 0.2
"""Seconds after which a waiting thread looks whether the process shall end."""
_SETTLING, _BLINK = 50, 0.02
_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_NOT_THERE = 404
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_ASK_AGAIN = {"Cache-Control": "no-cache"}


@dataclass(slots=True)
class _Download:
    """How far the download of a file is; `end` and `tag` are known from the first answer on."""

    key: str
    at: int
    end: int | None
    tag: str | None = None


class ObjectStore(Store):
    """Files in a bucket, or on a web server."""

    def __init__(
        self, url: str, remote: Remote, prefix: str, *, patience: float, is_web: bool
    ) -> None:
        """Take over a store of obstore.

        Args:
            url: what the user named.
            remote: the whole bucket or server, with its credentials. Prefixes of obstore's own come
                back in the listing of some kinds and not of others.
            prefix: in front of every key; empty, or with a slash at its end.
            patience: seconds that may pass without progress.
            is_web: whether it is a web server; to such, a file is sent in one request.
        """
        super().__init__(url)
        self._remote = remote
        self._prefix = prefix
        self._patience = patience
        self._is_web = is_web
        self._has_ranges = True
        self._one_large = threading.Lock()  # whoever has it may hold a large file in memory
        self._has_answered = False

    def put(self, key: str, member: Member) -> None:
        """See `Store.put`.

        A web server takes a file in one request, for which the whole file is held in memory.
        """
        if not self._is_web and member.size > _PART:
            self._persist("write", key, lambda: self._put_in_parts(key, member))
            return
        with self._one_large if member.size > _PART else nullcontext():
            body = b"".join(member_chunks(member))
            self._persist("write", key, lambda: self._put_whole(key, body))

    def _put_whole(self, key: str, body: bytes) -> None:
        put = partial(
            obstore.put_async,
            self._remote,
            self._prefix + key,
            body,
            attributes=_attributes(key),
            use_multipart=False,
        )
        self._ask(put, self._patience + len(body) / _RATE)

    def _put_in_parts(self, key: str, member: Member) -> None:
        taken: list[OtabuildError] = []

        async def parts() -> AsyncIterator[bytes]:
            # A thread of its own reads: the bytes may come from a server, by requests that need
            # those of obstore.
            chunks = member_chunks(member)
            try:
                while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                    yield chunk
            except OtabuildError as error:
                taken.append(error)  # obstore raises one of its own, and gives the upload up
                raise

        put = partial(
            obstore.put_async,
            self._remote,
            self._prefix + key,
            attributes=_attributes(key),
            use_multipart=True,
        )
        try:
            self._ask(
                partial(put, parts(), chunk_size=_PART, max_concurrency=1),
                self._patience + member.size / _RATE,
            )
        except Exception:
            if taken:
                raise taken[0] from None
            raise

    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Store.chunks`."""
        # No request can ask for an empty range, and one from the middle on needs its end.
        if start == end or (start and end is None):
            found = self.stat(key)
            if found is None:
                raise NoSuchFileError("missing", where=key)
            start, end = range_of(found.size, start, end, key)
        download, failures = _Download(key, start, end), 0
        while download.end is None or download.at < download.end:
            before = download.at
            try:
                yield from self._pieces(download)
            except (BaseError, TimeoutError) as error:
                # In a row: what moves on in between may break off any number of times.
                failures = failures + 1 if download.at == before else 1
                self._check_again(error, failures, "read", key)

    def _pieces(self, download: _Download) -> Iterator[bytes]:
        """Yield what one request gives of a download, and move `download.at` forward."""
        result = self._open(download)
        stream = result.stream(min_chunk_size=1)
        skipped = download.at - result.range[0]  # a server without ranges begins at the start
        while download.end is not None and download.at < download.end:
            piece = self._ask(partial(_take, stream), self._patience)
            wanted = memoryview(piece)[skipped:][: download.end - download.at]
            skipped -= min(skipped, len(piece))
            download.at += len(wanted)
            self.traffic.add(0, len(piece))
            for at in range(0, len(wanted), CHUNK):
                yield bytes(wanted[at : at + CHUNK])

    def _open(self, download: _Download) -> GetResult:
        options: GetOptions = {}
        if download.tag is not None:
            options["if_match"] = download.tag
        if self._has_ranges and download.end is not None:
            options["range"] = (download.at, download.end)
        self.traffic.add(1, 0)
        try:
            result = self._ask(
                partial(
                    obstore.get_async, self._remote, self._prefix + download.key, options=options
                ),
                self._patience,
            )
        except FileNotFoundError:
            raise NoSuchFileError("missing", where=download.key) from None
        except PreconditionError:
            raise IntegrityError("changed while it was read", where=download.key) from None
        except BaseError as error:
            if self._has_ranges and is_whole(error):
                self._has_ranges = False
                return self._open(download)
            if not is_beyond_the_end(error):
                raise
            found = self.stat(download.key)
            range_of(0 if found is None else found.size, download.at, download.end, download.key)
            raise
        size, tag = result.meta["size"], result.meta["e_tag"]
        _, download.end = range_of(size, download.at, download.end, download.key)
        if tag is not None and not tag.startswith("W/"):  # a weak tag never matches
            download.tag = tag
        return result

    def fetch(self, files: Sequence[Wanted]) -> Sequence[bytes | None]:
        """See `Store.fetch`.

        Two threads wake each other up once for all files: that costs more than a small file.
        """

        async def all_of_them() -> list[bytes | None]:
            return [await self._whole(*file) for file in files]

        self.traffic.add(len(files), 0)
        found = self._ask(all_of_them, self._patience * len(files))
        self.traffic.add(0, sum(map(len, filter(None, found))))
        return found

    async def _whole(self, key: str, size: int) -> bytes | None:
        try:
            async with asyncio.timeout(self._patience):
                result = await obstore.get_async(self._remote, self._prefix + key)
                return bytes(await result.bytes_async()) if result.range == (0, size) else None
        except (BaseError, FileNotFoundError, TimeoutError):
            return None

    def stat(self, key: str) -> StoreFile | None:
        """See `Store.stat`."""
        try:
            self.traffic.add(1, 0)
            meta = self._persist(
                "look at",
                key,
                lambda: self._ask(
                    partial(obstore.head_async, self._remote, self._prefix + key), self._patience
                ),
            )
        except FileNotFoundError:
            return None
        return self._file_of(meta)

    @cached_property
    def can_list(self) -> bool:
        """See `Store.can_list`."""
        if not self._is_web:
            return True
        self.traffic.add(1, 0)
        try:
            self._ask(self._listing(""), self._patience)
        except (BaseError, TimeoutError) as error:
            if isinstance(error, BaseError) and status_of(error) is not None:
                return False
            raise store_error(error, "list", self.url) from None
        return True

    def files(self, prefix: str) -> Iterator[StoreFile]:
        """See `Store.files`."""
        if not self._is_web:
            stream = obstore.list(self._remote, self._folder(prefix))
            while batch := self._ask_list(prefix, partial(anext, stream, None)):
                yield from map(self._file_of, batch)
            return
        folders = [prefix]  # many web servers list one folder at a time only
        while folders:
            found = self._list_folder(folders.pop())
            folders += [folder.removeprefix(self._prefix) for folder in found["common_prefixes"]]
            yield from map(self._file_of, found["objects"])

    def _list_folder(self, prefix: str) -> ListResult[Sequence[ObjectMeta]]:
        return self._ask_list(prefix, self._listing(prefix))

    def _listing(self, prefix: str) -> Callable[[], Awaitable[ListResult[Sequence[ObjectMeta]]]]:
        return partial(obstore.list_with_delimiter_async, self._remote, self._folder(prefix))

    def _folder(self, prefix: str) -> str | None:
        return (self._prefix + prefix).rstrip("/") or None

    def _file_of(self, meta: ObjectMeta) -> StoreFile:
        return StoreFile(
            meta["path"].removeprefix(self._prefix), meta["size"], meta["last_modified"].timestamp()
        )

    def _ask_list(self, prefix: str, work: Callable[[], Awaitable[T]]) -> T:
        self.traffic.add(1, 0)
        try:
            return self._ask(work, self._patience)
        except (BaseError, TimeoutError) as error:
            raise store_error(error, "list", f"{self.url}/{prefix}") from None

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        try:
            self._persist(
                "remove",
                key,
                lambda: self._ask(
                    partial(obstore.delete_async, self._remote, self._prefix + key), self._patience
                ),
            )
        except FileNotFoundError:
            return

    def close(self) -> None:
        """See `Store.close`; obstore closes its connections when nobody uses them."""

    def _persist(self, operation: str, key: str, work: Callable[[], T]) -> T:
        """Do something repeatable until it succeeds; raise a StoreError if it never does."""
        failures = 0
        while True:
            try:
                return work()
            except (BaseError, TimeoutError) as error:
                if isinstance(error, BaseError) and status_of(error) == _NOT_THERE:
                    raise FileNotFoundError(key) from None
                failures += 1
                self._check_again(error, failures, operation, key)

    def _check_again(self, error: Exception, failures: int, operation: str, key: str) -> None:
        """Wait, unless the error will stay or came often enough: then raise it as one of ours."""
        waited = sum(_pause(failure) for failure in range(1, failures))
        # A name with a typing error should be told soon; what answered before is waited for while
        # it starts again.
        is_waiting = (
            self._has_answered and not isinstance(error, TimeoutError) and waited < self._patience
        )
        if (failures >= _ATTEMPTS and not is_waiting) or (
            isinstance(error, BaseError) and not may_pass(error)
        ):
            raise store_error(error, operation, f"{self.url}/{key}") from None
        time.sleep(_pause(failures))

    def _ask(self, work: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Wait for an answer of obstore.

        Raises:
            TimeoutError: it took longer.
            BaseError, FileNotFoundError: the request failed.
        """

        async def within() -> T:
            return await asyncio.wait_for(work(), seconds)

        future = asyncio.run_coroutine_threadsafe(within(), _loop())
        try:
            answer = _result(future)
        except BaseException:
            future.cancel()  # whoever ends this process must not wait for a server
            raise
        self._has_answered = True
        return answer


def _pause(failure: int) -> float:
    """Return the seconds to wait after the n-th failure in a row."""
    return min(_FIRST_PAUSE * 2.0 ** (failure - 1), _LONGEST_PAUSE)


def _result(future: Future[T]) -> T:
    while not future.done():
        wait([future], _LOOK)
        if fs.interrupted is not None:  # a signal reaches no thread but the main one
            raise fs.interrupted()
    return future.result()


async def _take(stream: BytesStream) -> bytes:
    """Return the next piece of a body; what came before it broke off is not lost."""
    piece = bytearray()
    try:
        async for part in stream:
            piece += part
            if len(piece) >= _PIECE:
                break
    except BaseError:
        if not piece:
            raise
    if not piece:
        raise BaseError("the body ended early")
    return bytes(piece)


def _attributes(key: str) -> Attributes:
    """A blob never changes; what a release says may be withdrawn."""
    return _FOREVER if key.startswith("blobs/") else _ASK_AGAIN


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="otabuild stores", daemon=True).start()
    atexit.register(_settle)
    return loop


def _settle() -> None:
    """Let threads of obstore that are handing over a result come to their end.

    One that wants the interpreter while that is torn down would abort the whole process, after all
    its work was done.
    """
    for _ in range(_SETTLING):
        time.sleep(_BLINK)
        if not sys._current_frames().keys() - {thread.ident for thread in threading.enumerate()}:  # noqa: SLF001 -- documented
            return
