"""A stream of entries in a file: a MessagePack sequence, then the SHA-256 of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgpack

from otabuild.errors import StateError
from otabuild.rootfs.entry import Content, Entry, StatKey

_TRAILER = len(msgpack.packb(bytes(32)))
_unpack = partial(msgpack.unpackb, use_list=False, unicode_errors="surrogateescape")


class Writer(Protocol):
    """An open binary file, or anything else with its `write`."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


class Readable(Protocol):
    """An open binary file, or anything else with its `read`."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; none at the end."""


class DamagedEntriesError(StateError):
    """A stored list of entries is missing, truncated or damaged; `path` is its file."""

    def __init__(self, path: str) -> None:
        super().__init__("the stored list of entries is damaged", where=path, hint="build again")
        self.path = path


class EntryCounts(NamedTuple):
    """The number of entries in a stream, and the bytes of its regular files.

    Each path of a hard-link group counts.
    """

    regular: int
    directories: int
    others: int
    size: int


def write_entries(file: Writer, entries: Iterable[Entry]) -> EntryCounts:
    """Write a stream of entries to an open file and count them."""
    pack = _packer()
    regular = directories = others = size = 0
    hasher = hashlib.sha256()
    for entry in entries:
        if entry.content is not None:
            regular += 1
            size += entry.content.size
        elif entry.is_directory:
            directories += 1
        else:
            others += 1
        hasher.update(packed := pack(entry))
        file.write(packed)
    file.write(pack(hasher.digest()))
    return EntryCounts(regular, directories, others, size)


def read_entries(file: Readable) -> Iterator[Entry]:
    """Yield the entries that `write_entries` wrote. They can be trusted only after the last one.

    Raises:
        DamagedEntriesError: the file is damaged or incomplete.
    """
    hashed = _Hashed(file)
    unpacker = msgpack.Unpacker(
        hashed, use_list=False, unicode_errors="surrogateescape", read_size=1 << 20
    )
    row: object = None
    try:
        for row in unpacker:
            if not isinstance(row, tuple):
                break
            yield _entry(row)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DamagedEntriesError(getattr(file, "name", "")) from error
    if row != hashed.digest or hashed.tail != msgpack.packb(row):
        raise DamagedEntriesError(getattr(file, "name", ""))


class _Hashed:
    """Passes on the bytes read from a file, and hashes all but the digest at the end."""

    def __init__(self, file: Readable) -> None:
        self._file, self._hasher = file, hashlib.sha256()
        self.tail = b""

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of what was read, without the digest at the end."""
        return self._hasher.digest()

    def read(self, size: int) -> bytes:
        """Read like the file does."""
        data = self._file.read(size)
        held = self.tail + data
        self._hasher.update(held[:-_TRAILER])
        self.tail = held[-_TRAILER:]
        return data


class PackedEntries(MutableMapping[str, Entry]):
    """Entries by their paths, which may be millions: each takes some 300 bytes, not 700."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._pack = _packer()

    def __getitem__(self, path: str) -> Entry:
        """Return the entry of a path."""
        return _entry((path, *_unpack(self._packed[path])))

    def __setitem__(self, path: str, entry: Entry) -> None:
        """Set the entry of a path."""
        self._packed[path] = self._pack(entry[1:])

    def __delitem__(self, path: str) -> None:
        """Remove the entry of a path."""
        del self._packed[path]

    def __contains__(self, path: object) -> bool:
        """Whether there is an entry of a path."""
        return path in self._packed

    def __iter__(self) -> Iterator[str]:
        """Iterate over the paths."""
        return iter(self._packed)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._packed)


def _packer() -> Callable[[object], bytes]:
    pack: Callable[[object], bytes] = msgpack.Packer(unicode_errors="surrogateescape").pack
    return pack


def _entry(row: tuple[Any, ...]) -> Entry:
    path, mode, uid, gid, xattrs, target, content, link = row
    if content is not None:
        host_path, offset, size, key, digest = content
        content = Content(host_path, offset, size, None if key is None else StatKey(*key), digest)
    return Entry(path, mode, uid, gid, xattrs, target, content, link)
