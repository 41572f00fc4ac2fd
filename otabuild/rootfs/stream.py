"""A stream of entries in a file, as a MessagePack sequence that ends with the number of its entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgpack

from otabuild.errors import StateError
from otabuild.rootfs.entry import Content, Entry, StatKey


class Writer(Protocol):
    """An open binary file, or what takes bytes as one does."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


class EntryCounts(NamedTuple):
    """How many entries a stream had, and the bytes of its regular files (each path of a hard-link group counts)."""

    regular: int
    directories: int
    others: int
    size: int


def write_entries(file: Writer, entries: Iterable[Entry]) -> EntryCounts:
    """Write a stream of entries to an open file and count them."""
    pack = msgpack.Packer(unicode_errors="surrogateescape").pack
    regular = directories = others = size = 0
    for entry in entries:
        if entry.content is not None:
            regular += 1
            size += entry.content.size
        elif entry.is_directory:
            directories += 1
        else:
            others += 1
        file.write(pack(entry))
    file.write(pack(regular + directories + others))
    return EntryCounts(regular, directories, others, size)


def read_entries(file: BinaryIO) -> Iterator[Entry]:
    """The entries that `write_entries` wrote.

    Raises:
        StateError: the file is damaged or was not written to its end.
    """
    unpacker = msgpack.Unpacker(file, use_list=False, unicode_errors="surrogateescape", read_size=1 << 20)
    count = 0
    row: object = None
    try:
        for row in unpacker:
            if not isinstance(row, tuple):
                break
            count += 1
            yield _entry(row)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise _damaged(file) from error
    if row != count or type(row) is not int:
        raise _damaged(file)


def _entry(row: tuple[Any, ...]) -> Entry:
    path, mode, uid, gid, xattrs, target, content, link = row
    if content is not None:
        host_path, offset, size, key, digest = content
        content = Content(host_path, offset, size, None if key is None else StatKey(*key), digest)
    return Entry(path, mode, uid, gid, xattrs, target, content, link)


def _damaged(file: BinaryIO) -> StateError:
    return StateError("the stored list of entries is damaged", where=getattr(file, "name", ""), hint="build again")
