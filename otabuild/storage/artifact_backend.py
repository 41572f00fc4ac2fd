"""Reads an image from its artifact."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from functools import partial

from otabuild.errors import ContainerError
from otabuild.format.digest import sha256_of
from otabuild.storage.backend import (
    Backend,
    BackendFile,
    NoSuchFileError,
    extent,
    range_of,
    reading,
)
from otabuild.storage.zip_reader import ZipEntry, read_entries


class ZipBackend(Backend):
    """A ZIP, wherever its bytes are; a subclass sets its entries, by name."""

    is_artifact = True
    _entries: Mapping[str, ZipEntry]

    def members(self) -> Iterator[BackendFile]:
        """See `Backend`."""
        return (BackendFile(entry.name, entry.size, entry.mode) for entry in self._entries.values())

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        entry = self._entries.get(name)
        return None if entry is None else entry.size

    def _entry(self, name: str) -> ZipEntry:
        if name not in self._entries:
            raise NoSuchFileError("missing", where=name)
        return self._entries[name]


def check_crc(entry: ZipEntry, crc: int) -> None:
    """Check the CRC-32 of what was read of an entry.

    Raises:
        ContainerError: it differs from that in the artifact.
    """
    if crc != entry.crc:
        raise ContainerError(
            "CRC is wrong", where=entry.name, observed=f"{crc:08x}", expected=f"{entry.crc:08x}"
        )


class ArtifactBackend(ZipBackend):
    """A ZIP that is read through one descriptor."""

    def __init__(self, path: str, fd: int) -> None:
        """Take over a descriptor.

        Raises:
            ContainerError, LimitError: it is not the strict ZIP of the format.
            StorageError: the operating system could not read it.
        """
        super().__init__(path)
        self._fd = fd
        with reading(path):
            entries = read_entries(partial(os.pread, fd), os.fstat(fd).st_size)
        self._entries = {entry.name: entry for entry in entries}

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`."""
        entry = self._entry(name)
        start, end = range_of(entry.size, start, end, name)
        crc = 0
        for chunk in extent(self._fd, entry.offset + start, entry.offset + end, name):
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if end - start == entry.size:
            check_crc(entry, crc)

    def total_size(self) -> int:
        """See `Backend`."""
        return os.fstat(self._fd).st_size

    def _holds(self, target: str) -> bool:
        try:
            return os.path.samestat(os.stat(target), os.fstat(self._fd))
        except OSError:
            return False

    def artifact_digest(self) -> bytes | None:
        """See `Backend`."""
        return sha256_of(extent(self._fd, 0, self.total_size(), self.path))

    def close(self) -> None:
        """See `Backend`."""
        os.close(self._fd)
