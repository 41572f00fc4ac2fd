"""A rootfs in the form of the tables: entries with digests of contents, nothing of the build host.

It is stored in a file of the work directory, one MessagePack row per entry. Therefore memory does
not grow with the tree, and the next steps depend only on what is in the image: not on times, inode
numbers or paths of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import msgpack


class TreeRow(NamedTuple):
    """An entry.

    `xattrs` is packed. `digest` (32 bytes) and `size` belong to a regular file; `inline` is its
    content if the file table contains it. Rows with the same `link` (not None) are hard links of
    one inode.
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
    """Write the rows, which are in path order."""
    packer = msgpack.Packer()
    for row in rows:
        file.write(packer.pack(row))


def read_tree(path: str) -> Iterator[TreeRow]:
    """Yield the rows of a file that `write_tree` wrote."""
    with open(path, "rb") as file:
        for row in msgpack.Unpacker(file, use_list=False):
            yield TreeRow(*row)
