"""The cache of a work directory: stored blobs, results by inputs, digests of hashed files.

    <folder>/packs/<n>          concatenated blobs; each run that stores any adds one such file
    <folder>/cache.sqlite3      `blobs`: digest -> pack, offset, size
                                `made`: key of a recipe for bytes -> its result
                                `hashed`: host file -> digest

Blobs are in packs because creating a file for each of ten thousand blobs costs more than writing
them. Names are never trusted: every reader of a blob checks it against its digest. Records of
`made` and `hashed` have a seal (see `storage.seal`), because others may have written the cache; a
damaged or lost database only costs time. One process at a time has a cache open: worker processes
of one run wait for each other. Its methods are thread-safe.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import msgpack

from otabuild.errors import StorageError
from otabuild.format.digest import Blob, sha256_of
from otabuild.storage import fs
from otabuild.storage.cache_database import open_database
from otabuild.storage.lock import waiting_for_others
from otabuild.storage.seal import SIZE, Seal

_CHUNK = 1 << 20
_PACK = re.compile("[1-9][0-9]{0,17}")
_BATCH = 500
_STRIDE = 8 << 20
"""Writing a pack to disk starts whenever it has grown by this many bytes, not only when the
artifact is synced."""
FileKey = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime (in nanoseconds) of a host file."""


class Cache:
    """See the module. As a context manager, it commits on exit, also after an error."""

    def __init__(self, folder: str, seal: Seal | None = None) -> None:
        self.folder = folder
        self._seal = seal or Seal(os.urandom(SIZE))
        self._packs = os.path.join(folder, "packs")
        fs.makedirs(self._packs)
        self._lock = threading.RLock()
        self._fd: int | None = None
        self._pack = self._end = 0
        with ExitStack() as undo:
            undo.enter_context(waiting_for_others(os.path.join(folder, "lock")))
            self._db = undo.enter_context(
                closing(open_database(os.path.join(folder, "cache.sqlite3")))
            )
            self._pack = self._remove_orphans() + 1
            self._close = undo.pop_all().close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with suppress(StorageError) if error else nullcontext():
                self.commit()
        finally:
            if self._fd is not None:
                os.close(self._fd)
            self._close()

    def chunks(self, blob: Blob) -> Iterator[bytes]:
        """Yield a blob in parts of at most 1 MiB, unverified.

        There are fewer bytes, or none, if it is damaged or missing.

        Raises:
            StorageError: the operating system could not read it.
        """
        return self.readers([blob]).get(blob, _nothing)()

    def has(self, blob: Blob) -> bool:
        """Whether the cache has a blob of that digest and size; bytes are checked on reading."""
        return self._one("SELECT 1 FROM blobs WHERE digest = ? AND size = ?", *blob) is not None

    def readers(self, blobs: Iterable[Blob]) -> dict[Blob, Callable[[], Iterator[bytes]]]:
        """Return, for those of these blobs that the cache has, what yields the bytes as `chunks`.

        Takes less time than asking for each.
        """
        found: dict[Blob, Callable[[], Iterator[bytes]]] = {}
        query = "SELECT digest, size, pack, offset FROM blobs WHERE digest IN ({})"
        for digest, size, pack, offset in self._each(query, (blob.digest for blob in blobs)):
            path = self._pack_path(pack)
            found[Blob(digest, size)] = partial(_chunks_at, path, offset, size)
        return found

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """Return the blobs that the cache lacks, in their order; faster than asking for each."""
        wanted = list(blobs)
        found = self.readers(wanted)
        return [blob for blob in wanted if blob not in found]

    def add(self, data: bytes) -> Blob:
        """Store bytes, unless they are already stored."""
        blob = Blob(hashlib.sha256(data).digest(), len(data))
        if not self.has(blob):
            offset = self._reserve(blob.size)
            self.write(data, offset)
            self.record(blob, offset)
        return blob

    def new_blob(self, room: int) -> BlobWriter:
        """Return a writer for a blob whose digest is not known yet, with space for `room` bytes."""
        # One byte more, by which the writer finds out that a source is larger than promised.
        return BlobWriter(self, self._reserve(room + 1))

    def is_sound(self, blob: Blob) -> bool:
        """Read a blob, and return whether it is what its digest says."""
        with suppress(StorageError):
            return sha256_of(self.chunks(blob)) == blob.digest
        return False

    def discard_damaged(self) -> list[Blob]:
        """Read every blob, and forget damaged ones; return those."""
        blobs = self._all("SELECT digest, size FROM blobs ORDER BY pack, offset")
        damaged = [blob for blob in (Blob(*row) for row in blobs) if not self.is_sound(blob)]
        for blob in damaged:
            self._execute("DELETE FROM blobs WHERE digest = ?", (blob.digest,))
        return damaged

    def recall(self, key: bytes) -> list[Any] | None:
        """Return what was remembered for a key; None without a record that this user sealed."""
        match self._one("SELECT value FROM made WHERE key = ?", key):
            case (bytes() as record,) if self._seal.holds(
                record[:SIZE], "made", key, record[SIZE:]
            ):
                return list(msgpack.unpackb(record[SIZE:]))
        return None

    def recall_unsealed(self, key: bytes) -> list[Any] | None:
        """Return what a record says that anybody may have written: it may be wrong in every way."""
        match self._one("SELECT value FROM made WHERE key = ?", key):
            case (bytes() as record,):
                with suppress(ValueError, TypeError, msgpack.UnpackException):
                    return list(msgpack.unpackb(record[SIZE:]))
        return None

    def remember(self, key: bytes, value: Sequence[Any]) -> None:
        """Remember the result for a key."""
        packed = bytes(msgpack.packb(value))
        self._execute(
            "REPLACE INTO made VALUES (?, ?)", (key, self._seal.of("made", key, packed) + packed)
        )

    def hashed(self, keys: Iterable[FileKey]) -> dict[FileKey, tuple[bytes, bytes | None]]:
        """Return digest and inlined content of host files in these states, from sealed records.

        Takes less time than asking for each.
        """
        wanted = {_signed(key): key for key in keys}
        devices: defaultdict[int, list[int]] = defaultdict(list)
        for device, inode, *_ in wanted:
            devices[device].append(inode)
        found = {}
        query = "SELECT * FROM hashed WHERE device = ? AND inode IN ({})"
        for device, inodes in devices.items():
            for *key, digest, inline, seal in self._each(query, inodes, device):
                match wanted.get(tuple(key)), seal, digest, inline:
                    case (tuple() as asked, bytes(), bytes(), bytes() | None) if self._seal.holds(
                        seal, "hashed", key, digest, inline
                    ):
                        found[asked] = digest, inline
        return found

    def remember_hashed(self, rows: Iterable[tuple[FileKey, bytes, bytes | None]]) -> None:
        """Remember key, digest and inlined content of host files."""
        signed = [(_signed(key), digest, inline) for key, digest, inline in rows]
        packed = [
            (*key, digest, inline, self._seal.of("hashed", key, digest, inline))
            for key, digest, inline in signed
        ]
        with self._lock, self._errors():
            self._db.executemany("REPLACE INTO hashed VALUES (?,?,?,?,?,?,?,?)", packed)

    def forget_hashed(self) -> None:
        """Forget the digests of all host files; stored blobs are kept."""
        self._execute("DELETE FROM hashed", ())

    def mark_used(self, blobs: Iterable[Blob], now: int) -> None:
        """Record that these blobs, and those stored since, are in use `now` (Unix nanoseconds)."""
        with self._lock, self._errors():
            self._db.executemany(
                "UPDATE blobs SET used = ? WHERE digest = ?", [(now, blob.digest) for blob in blobs]
            )
            self._db.execute("UPDATE blobs SET used = ? WHERE used = 0", (now,))

    def commit(self) -> None:
        """Make what was remembered so far survive a kill of the process."""
        with self._lock, self._errors():
            self._db.commit()

    def usage(self) -> tuple[int, int, int]:
        """Return the number of blobs, their bytes, and the bytes of the cache on disk."""
        count, size = self._one("SELECT count(*), total(size) FROM blobs")
        with os.scandir(self.folder) as files, os.scandir(self._packs) as packs:
            disk = sum(
                entry.stat(follow_symlinks=False).st_blocks * 512 for entry in (*files, *packs)
            )
        return count, int(size), disk

    def shrink(self, size: int, spare: int) -> int:
        """Drop the least recently used blobs down to `size` bytes; return how many.

        Blobs used at `spare` (Unix nanoseconds) or later are kept, and so are blobs that were never
        marked as used. If the file system does not support holes, space is freed only when a whole
        pack is dropped.
        """
        # Sums run from what is kept first: blobs that were never marked, then the most recent ones.
        older = """FROM (
                SELECT digest, used,
                    sum(size) OVER (ORDER BY used = 0 DESC, used DESC, digest) AS total FROM blobs)
            WHERE total > ? AND used BETWEEN 1 AND ?"""
        with self._lock, self._errors():
            dropped = self._db.execute(
                f"DELETE FROM blobs WHERE digest IN (SELECT digest {older})",  # noqa: S608 -- a constant
                (size, spare - 1),
            ).rowcount
        if dropped:
            self.commit()
            self._remove_orphans()
            self._punch_holes()
        return dropped

    def write(self, data: bytes, offset: int) -> None:
        """Write a part of a blob to its reserved space."""
        fd, end = self._descriptor(), offset + len(data)
        fs.pwrite(fd, data, offset, self._pack_path(self._pack))
        if end // _STRIDE > offset // _STRIDE:
            fs.start_writing_out(fd, offset // _STRIDE * _STRIDE, _STRIDE)

    def record(self, blob: Blob, offset: int) -> None:
        """Record that a blob is complete, and its location."""
        self._execute(
            "REPLACE INTO blobs VALUES (?,?,?,?,0)", (blob.digest, self._pack, offset, blob.size)
        )

    def _reserve(self, size: int) -> int:
        """Reserve space in this run's pack; unwritten space is a hole and uses no disk."""
        with self._lock:
            offset, self._end = self._end, self._end + size
        return offset

    def _descriptor(self) -> int:
        with self._lock:
            if self._fd is None:
                path = self._pack_path(self._pack)
                with fs.change("create", path):
                    self._fd = os.open(
                        path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
                    )
            return self._fd

    def _pack_path(self, number: int) -> str:
        return os.path.join(self._packs, str(number))

    def _remove_orphans(self) -> int:
        """Remove packs without blobs, as of killed runs; return the highest number in use."""
        used = {row[0] for row in self._all("SELECT DISTINCT pack FROM blobs")} | {self._pack}
        found = {int(name) for name in os.listdir(self._packs) if _PACK.fullmatch(name)}
        for number in found - used:
            fs.unlink(self._pack_path(number))
        return max(used | found)

    def _punch_holes(self) -> None:
        """Free the space between the blobs of each pack."""
        blobs = self._all("SELECT pack, offset, size FROM blobs ORDER BY pack, offset")
        for pack, extents in groupby(blobs, key=itemgetter(0)):
            path = self._pack_path(pack)
            try:
                fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue  # its blobs will be rebuilt
            with fs.closing_fd(fd):
                if os.fstat(fd).st_nlink > 1:
                    continue  # also a file of somebody else, such as a copy of the cache
                at = 0
                for _, offset, size in [*extents, (pack, os.fstat(fd).st_size, 0)]:
                    if offset > at:
                        with suppress(StorageError):
                            fs.punch_hole(fd, at, offset - at, path)
                    at = max(at, offset + size)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert the errors of the database, which one thread at a time may use.

        The lock is taken outside: a signal can leave a generator suspended right after its first
        step, and a lock that it holds would be released too late for the threads that somebody
        waits for meanwhile.
        """
        try:
            yield
        except sqlite3.DatabaseError as error:
            hint = (
                f"free some space on the disk of {fs.disk_of(self.folder)}, or remove the cache: "
                "it will be recreated"
            )
            raise StorageError(
                "cannot use the cache", where=self.folder, observed=error, hint=hint
            ) from error

    def _one(self, statement: str, *values: object) -> Any:
        with self._lock, self._errors():
            return self._db.execute(statement, values).fetchone()

    def _all(self, statement: str, *values: object) -> list[Any]:
        with self._lock, self._errors():
            return self._db.execute(statement, values).fetchall()

    def _each(self, query: str, values: Iterable[object], *first: object) -> Iterator[Any]:
        """Yield the rows of a query for many values, in place of `{}`; `first` come before them."""
        left = iter(values)
        while batch := list(islice(left, _BATCH)):
            yield from self._all(query.format(",".join("?" * len(batch))), *first, *batch)

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock, self._errors():
            self._db.execute(statement, values)


class BlobWriter:
    """Writes and hashes one blob; it cannot be found before it is committed."""

    def __init__(self, cache: Cache, offset: int) -> None:
        self._cache, self._offset = cache, offset
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._cache.write(data, self._offset + self.size)
        self._hash.update(data)
        self.size += len(data)

    def commit(self) -> Blob:
        """Finish the blob and make it available."""
        blob = Blob(self._hash.digest(), self.size)
        self._cache.record(blob, self._offset)
        return blob


def _nothing() -> Iterator[bytes]:
    return iter(())


def _chunks_at(path: str, offset: int, size: int) -> Iterator[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with fs.closing_fd(fd):
        end = offset + size
        while offset < end:
            try:
                chunk = os.pread(fd, min(_CHUNK, end - offset), offset)
            except OSError as error:
                raise fs.storage_error(error, "read", path) from error
            if not chunk:
                return
            offset += len(chunk)
            yield chunk


def _signed(key: FileKey) -> tuple[int, ...]:
    """Convert to signed integers for SQLite; an inode number may use all 64 bits."""
    if max(key) < 1 << 63:
        return tuple(key)
    return tuple(number - (1 << 64) if number >= 1 << 63 else number for number in key)
