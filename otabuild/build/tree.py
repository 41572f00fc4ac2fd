"""A rootfs as the tables will hold it: entries with the digests of their contents, and nothing of the build host.

It lies in a file of the work directory, one MessagePack row for each entry, so that memory does not grow with the
tree, and so that the next steps depend on what is in the image only: not on times, inode numbers or places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import msgpack


class TreeRow(NamedTuple):
    """An entry.

    `xattrs` is packed; `digest` (32 bytes) and `size` are a regular file's; `inline` is its content where the file
    table holds it; rows of one `link` (not None) are hard links of one inode.
    """

    path: str
    mode: int
    uid: int
    gid: int
    xattrs: bytes | None
    target: str | None
    link: int | None
    digest: bytes | None
    size: int
    inline: bytes | None


def write_tree(file: IO[bytes], rows: Iterable[TreeRow]) -> None:
    """Write the rows, which come in path order."""
    packer = msgpack.Packer()
    for row in rows:
        file.write(packer.pack(row))


def read_tree(path: str) -> Iterator[TreeRow]:
    """The rows of a file that `write_tree` wrote."""
    with open(path, "rb") as file:
        for row in msgpack.Unpacker(file, use_list=False):
            yield TreeRow(*row)
