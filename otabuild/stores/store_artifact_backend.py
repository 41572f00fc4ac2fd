"""Reads an image from its artifact in a store, by ranges: only what is asked for is fetched."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from otabuild.storage.artifact_backend import ZipBackend, check_crc
from otabuild.storage.backend import CHUNK, NoSuchFileError, Wanted, range_of
from otabuild.storage.zip_reader import ZipEntry, check_local, read_directory
from otabuild.stores.store import Store

_END = 64 << 10
"""Bytes at either end that are read at once: the documents, and often the whole central
directory."""
_GAP = 4 << 10
"""Bytes that are rather read in vain than left out by another request."""
_TOGETHER = 1 << 20


class StoreArtifactBackend(ZipBackend):
    """A ZIP, by its central directory; each file is one range, together with its local header."""

    is_remote = True

    def __init__(self, url: str, store: Store, key: str) -> None:
        """Take over a store; `key` is the artifact in it.

        Raises:
            NoSuchFileError: it does not exist.
            ContainerError, LimitError: it is not the strict ZIP of the format.
            StoreError: the store could not be read.
        """
        super().__init__(url)
        self._store = store
        self._key = key
        found = store.stat(key)
        if found is None:
            raise NoSuchFileError("missing", where=url)
        self._size = found.size
        self._held: list[tuple[int, bytes]] = []
        self._hold(max(0, self._size - _END), self._size)
        if self._size > _END:
            self._hold(0, _END)
        entries = read_directory(self._read, self._size)
        self._entries = {entry.name: entry for entry in entries}
        self._unchecked = dict(self._entries)

    def _hold(self, start: int, end: int) -> None:
        self._held.append((start, b"".join(self._store.chunks(self._key, start, end))))

    def _read(self, length: int, offset: int) -> bytes:
        """Return the first bytes of a range that one request, or none, gives."""
        for start, held in self._held:
            if start <= offset < start + len(held):
                return held[offset - start :][:length]
        end = min([offset + length, *(start for start, _ in self._held if start > offset)])
        return b"".join(self._store.chunks(self._key, offset, end))

    def _extent(self, start: int, end: int) -> Iterator[bytes]:
        for at, held in self._held:
            if at <= start <= end <= at + len(held):
                yield from (
                    held[cut - at : min(cut + CHUNK, end) - at] for cut in range(start, end, CHUNK)
                )
                return
        yield from self._store.chunks(self._key, start, end)

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`. The local header is compared if the file is read as a whole."""
        entry = self._entry(name)
        start, end = range_of(entry.size, start, end, name)
        if end - start < entry.size:
            yield from self._extent(entry.offset + start, entry.offset + end)
        else:
            yield from self._checked(entry, self._extent(entry.header, entry.offset + entry.size))

    def _checked(self, entry: ZipEntry, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Take the local header off the front, and compare it and the CRC."""
        header_size, header, crc = entry.offset - entry.header, b"", 0
        for part in parts:
            missing = header_size - len(header)
            header += part[:missing]
            if content := part[missing:]:
                crc = zlib.crc32(content, crc)
                yield content
        check_local(entry, header)
        check_crc(entry, crc)
        self._unchecked.pop(entry.name, None)

    def joins(self, files: Sequence[Wanted], file: Wanted) -> bool:
        """See `Backend`; neighbours are one request."""
        first, last, entry = (self._entries.get(one.name) for one in (files[0], files[-1], file))
        if first is None or last is None or entry is None:
            return False
        gap = entry.header - last.offset - last.size
        return 0 <= gap <= _GAP and entry.offset + entry.size - first.header <= _TOGETHER

    def fetch_joined(self, files: Sequence[Wanted]) -> list[bytes]:
        """See `Backend`."""
        entries = [self._entries[file.name] for file in files]
        start = entries[0].header
        raw = b"".join(self._extent(start, entries[-1].offset + entries[-1].size))
        return [
            b"".join(
                self._checked(
                    entry, iter([raw[entry.header - start : entry.offset + entry.size - start]])
                )
            )
            for entry in entries
        ]

    def check_rest(self) -> None:
        """See `Backend`."""
        for entry in list(self._unchecked.values()):
            check_local(entry, b"".join(self._extent(entry.header, entry.offset)))
            self._unchecked.pop(entry.name, None)

    def total_size(self) -> int:
        """See `Backend`."""
        return self._size

    def traffic(self) -> tuple[int, int]:
        """See `Backend`."""
        return self._store.traffic.requests, self._store.traffic.bytes

    def close(self) -> None:
        """See `Backend`."""
        self._store.close()
