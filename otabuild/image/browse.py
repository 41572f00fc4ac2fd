"""ls, cat and stat: a look into a payload without deploying it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import IO

from otabuild.image.payload import Payload
from otabuild.image.tables import FileEntry


def ls(payload: Payload, path: str = "/") -> Iterator[FileEntry]:
    """The entries directly in a directory, in byte order; or the entry itself where the path is no directory.

    Raises:
        InputError: no such path.
        TableError: the file table does not hold.
    """
    entry = payload.stat(path)
    if not entry.is_directory:
        yield entry
        return
    inside = entry.path.rstrip("/") + "/"
    for found in payload.file_table.below(inside):
        if found.path != "/" and posixpath.dirname(found.path) == entry.path:
            yield found


def stat(payload: Payload, path: str) -> FileEntry:
    """The entry of a path; symlinks are not followed.

    Raises:
        InputError: no such path.
    """
    return payload.stat(path)


def cat(payload: Payload, path: str) -> IO[bytes]:
    """The content of a regular file, verified to its last byte before the first is given out; to be closed.

    Raises:
        InputError: no such path, or no regular file.
        IntegrityError, FilterError: the content cannot be rebuilt.
    """
    return payload.open(path)
