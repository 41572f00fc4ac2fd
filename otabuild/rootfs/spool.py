"""Contents of an archive, concatenated in a file of the work directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from otabuild.errors import StorageError
from otabuild.storage import fs

_BUFFER = 1 << 20
_HOLE = bytes(1 << 20)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Spooled(NamedTuple):
    """The location of a content in the spool, its size in bytes, and its SHA-256 (32 bytes)."""

    offset: int
    size: int
    digest: bytes


class Spool:
    """An append-only file. As a context manager, it removes the file unless it was kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._buffer = bytearray()
        self._position = 0
        # What a killed run left, or somebody else's: never written to.
        fs.unlink(path, missing_ok=True)
        with fs.change("create", path):
            self._fd = os.open(path, _NEW, 0o600)
        self._open, self._kept = True, False

    def write(self, data: bytes) -> None:
        """Append bytes; 1 MiB of zeros takes no space."""
        self._position += len(data)
        if data == _HOLE:
            self._flush()
            # The last byte is written, so that the file is long enough if nothing follows.
            os.lseek(self._fd, len(data) - 1, os.SEEK_CUR)
            data = data[-1:]
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def add(self, chunks: Iterable[bytes]) -> Spooled:
        """Append a content."""
        offset = self._position
        hasher = hashlib.sha256()
        for chunk in chunks:
            hasher.update(chunk)
            self.write(chunk)
        return Spooled(offset, self._position - offset, hasher.digest())

    def keep(self, path: str) -> None:
        """Finish the file and move it to its place."""
        self._flush()
        self._close()
        fs.rename(self._path, path)
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._kept:
            return
        with fs.undisturbed():
            if self._open:
                with suppress(StorageError):
                    self._close()
            with suppress(StorageError):
                fs.unlink(self._path)

    def _flush(self) -> None:
        fs.write(self._fd, memoryview(self._buffer), self._path)
        self._buffer = bytearray()

    def _close(self) -> None:
        self._open = False
        with fs.change("close", self._path):
            os.close(self._fd)
