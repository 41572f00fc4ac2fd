"""The cache of a work directory: stored blobs by digest, what was made from what, and which files were hashed.

    <folder>/blobs/ab/abcd…     a blob, under the SHA-256 of its bytes
    <folder>/tmp/               blobs that are being written; emptied when the cache is opened
    <folder>/cache.sqlite3      `made`: key of a recipe for bytes -> what came of it; `hashed`: host file -> digest

Nothing in it is trusted by name: whoever reads a blob holds it against its digest, and a damaged or lost database only
means more work. One process at a time may open it (see lock.py); its methods may be called from several threads.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgpack

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs

_SCHEMA = """
CREATE TABLE IF NOT EXISTS made (key BLOB PRIMARY KEY, value BLOB NOT NULL, run INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashed (device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    digest BLOB NOT NULL, inline BLOB, run INTEGER NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, started INTEGER NOT NULL);
"""
_APPLICATION_ID = 0x6F746131


class Blob(NamedTuple):
    """Stored bytes: their SHA-256 (32 bytes) and their size."""

    digest: bytes
    size: int


class Cache:
    """See the module. A context manager: leaving it without an exception commits what was remembered."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._tmp = os.path.join(folder, "tmp")
        self._numbers = itertools.count()
        fs.makedirs(os.path.join(folder, "blobs"))
        with suppress(FileNotFoundError):
            shutil.rmtree(self._tmp)
        fs.makedirs(self._tmp)
        self._shards = set(os.listdir(os.path.join(folder, "blobs")))
        self._db = _open_database(os.path.join(folder, "cache.sqlite3"))
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._db.commit()
        self._db.close()

    def blob_path(self, digest: bytes) -> str:
        """Where the blob of a digest lies, whether it is there or not."""
        name = digest.hex()
        return os.path.join(self.folder, "blobs", name[:2], name)

    def has(self, blob: Blob) -> bool:
        """Whether a file of that name and size is there; its bytes are checked when they are read."""
        try:
            return os.stat(self.blob_path(blob.digest), follow_symlinks=False).st_size == blob.size
        except OSError:
            return False

    def add(self, data: bytes) -> Blob:
        """Store bytes; a blob that is there already is left as it is."""
        blob = Blob(hashlib.sha256(data).digest(), len(data))
        if not self.has(blob):
            with self.new_blob() as writer:
                writer.write(data)
                return writer.commit()
        return blob

    def new_blob(self) -> BlobWriter:
        """A writer for a blob whose digest is not known yet."""
        return BlobWriter(self, os.path.join(self._tmp, str(next(self._numbers))))

    def place(self, temporary: str, blob: Blob) -> None:
        """Put a finished temporary file where its blob belongs."""
        target = self.blob_path(blob.digest)
        shard = os.path.basename(os.path.dirname(target))
        if shard not in self._shards:
            fs.makedirs(os.path.dirname(target))
            self._shards.add(shard)
        fs.rename(temporary, target)

    def discard(self, digest: bytes) -> None:
        """Remove a blob that turned out to be damaged."""
        fs.unlink(self.blob_path(digest), missing_ok=True)

    def recall(self, key: bytes) -> list[Any] | None:
        """What was remembered for a key; None where nothing was."""
        with self._lock:
            row = self._db.execute("SELECT value FROM made WHERE key = ?", (key,)).fetchone()
        return None if row is None else list(msgpack.unpackb(row[0]))

    def remember(self, key: bytes, value: list[Any]) -> None:
        """Remember what came of a key."""
        with self._lock:
            self._db.execute("REPLACE INTO made VALUES (?, ?, 0)", (key, msgpack.packb(value)))

    def hashed(self, key: tuple[int, int, int, int, int]) -> tuple[bytes, bytes | None] | None:
        """Digest and inlined content of a host file of that device, inode, size, mtime and ctime, if it is known."""
        with self._lock:
            row: tuple[bytes, bytes | None] | None = self._db.execute(
                "SELECT digest, inline FROM hashed WHERE device=? AND inode=? AND size=? AND mtime_ns=? AND ctime_ns=?",
                _signed(key),
            ).fetchone()
        return row

    def remember_hashed(self, rows: Iterable[tuple[tuple[int, int, int, int, int], bytes, bytes | None]]) -> None:
        """Remember (stat key, digest, inlined content) of host files."""
        with self._lock:
            self._db.executemany(
                "REPLACE INTO hashed VALUES (?,?,?,?,?,?,?,0)",
                ((*_signed(key), digest, inline) for key, digest, inline in rows),
            )

    def commit(self) -> None:
        """Make what was remembered so far survive a kill of the process."""
        self._db.commit()

    def blobs(self) -> Iterator[Blob]:
        """Every blob that lies in the cache, by name and size."""
        root = os.path.join(self.folder, "blobs")
        for shard in sorted(os.listdir(root)):
            for item in sorted(os.scandir(os.path.join(root, shard)), key=lambda item: item.name):
                yield Blob(bytes.fromhex(item.name), item.stat(follow_symlinks=False).st_size)


class BlobWriter:
    """Writes one blob, hashing as it goes; a context manager that removes what was not committed."""

    def __init__(self, cache: Cache, temporary: str) -> None:
        self._cache, self._temporary = cache, temporary
        self._hash = hashlib.sha256()
        self.size = 0
        with fs.change("create", temporary):
            self._fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._open = True

    def write(self, data: bytes) -> None:
        """Append bytes."""
        fs.write(self._fd, data, self._temporary)
        self._hash.update(data)
        self.size += len(data)

    def commit(self) -> Blob:
        """Put the blob in its place."""
        self._close()
        blob = Blob(self._hash.digest(), self.size)
        self._cache.place(self._temporary, blob)
        return blob

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            with suppress(StorageError):
                self._close()
                fs.unlink(self._temporary, missing_ok=True)

    def _close(self) -> None:
        self._open = False
        with fs.change("close", self._temporary):
            os.close(self._fd)


def _signed(key: tuple[int, int, int, int, int]) -> tuple[int, ...]:
    """SQLite's integers are signed; an inode number may use all 64 bits."""
    return tuple(number - (1 << 64) if number >= 1 << 63 else number for number in key)


def _open_database(path: str) -> sqlite3.Connection:
    """Open the cache database; one that is damaged or of another version is thrown away."""
    for _attempt in (1, 2):
        try:
            db = sqlite3.connect(path, timeout=30, check_same_thread=False)
            if db.execute("PRAGMA application_id").fetchone()[0] not in (0, _APPLICATION_ID):
                raise sqlite3.DatabaseError("not a cache of ours")  # noqa: TRY301  (one way to throw it away)
            db.execute("PRAGMA synchronous = OFF")  # a power cut costs the cache, never an image
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.executescript(_SCHEMA)
            db.execute("SELECT count(*) FROM hashed WHERE device = 0").fetchone()
        except sqlite3.OperationalError as error:
            raise StorageError("cannot open the cache", where=path, observed=error) from None
        except sqlite3.DatabaseError:
            for suffix in ("", "-journal", "-wal"):
                fs.unlink(path + suffix, missing_ok=True)
        else:
            return db
    raise StateError("the cache database stays damaged", where=path, hint="remove it")
