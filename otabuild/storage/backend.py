"""Where an image is read from: one small interface.

`storage/backends.py` opens one by path. A new place to read from is a module with a subclass, and a line there; the
suite in tests/storage/test_backends.py says how it must behave.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from otabuild.errors import IntegrityError, StateError
from otabuild.storage.fs import StrPath, storage_error

CHUNK = 1 << 20


class BackendFile(NamedTuple):
    """A file or folder of the image (`name` of a folder ends in `/`); `mode` is the whole st_mode."""

    name: str
    size: int
    mode: int


class Backend(ABC):
    """The files of an image by name, such as `index.json` or `blobs/sha256/<hex>`. Bytes are not verified.

    An image is opened once, and nothing is looked up by its path again, so that nobody can replace it meanwhile. Every
    method may be called from several threads.

    Attributes:
        path: what the user named, for messages.
        is_artifact: whether it is one ZIP.
    """

    is_artifact = False

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def members(self) -> Iterator[BackendFile]:
        """Yield every file and folder, in storage order (artifact) or by name.

        A folder that does not belong in an image is listed, but not entered.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist.

        Raises:
            IntegrityError: it is not a regular file.
        """

    @abstractmethod
    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file from `start` to `end` (its size if None) in parts of at most 1 MiB.

        Raises:
            IntegrityError: it is missing, not a regular file, shorter than `end`, or became shorter meanwhile.
            ContainerError: its CRC differs from that in the artifact; found out only if it is read as a whole.
            StorageError: the operating system could not read it.
        """

    @abstractmethod
    def total_size(self) -> int:
        """Return the bytes of the artifact, or of all files together."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def artifact_digest(self) -> bytes | None:
        """Return the SHA-256 of the artifact as it is now; None if it is not one.

        Raises:
            IntegrityError: it became shorter meanwhile.
            StorageError: the operating system could not read it.
        """
        return None

    def check_apart(self, target: StrPath) -> None:
        """Check that writing to a path leaves the image unchanged.

        Raises:
            StateError: the path is the artifact, or is inside the directory.
        """
        if self._holds(os.fspath(target)):
            hint = "the image would be lost; name another place"
            raise StateError("the target is inside the image", where=os.fspath(target), hint=hint)

    def _holds(self, target: str) -> bool:
        """Return whether writing to a path of this machine changes the image."""
        del target
        return False


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say what an OSError means for the file of an image with this name."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):  # no file can have a name that is too long
            raise IntegrityError("missing", where=name) from None
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise IntegrityError("not a plain file in plain folders", where=name) from None
        raise storage_error(error, "read", name) from error


def extent(fd: int, start: int, end: int, name: str) -> Iterator[bytes]:
    """Yield the bytes of an open file from `start` to `end`.

    Raises:
        IntegrityError: it has fewer.
        StorageError: the operating system could not read it.
    """
    while start < end:
        with reading(name):
            part = os.pread(fd, min(CHUNK, end - start), start)
        if not part:
            raise IntegrityError("got shorter while it was read", where=name, observed=f"{end - start} bytes less")
        start += len(part)
        yield part


def range_of(size: int, start: int, end: int | None, name: str) -> tuple[int, int]:
    """Return the range that `Backend.chunks` was asked for, if a file of this size has it.

    Raises:
        IntegrityError: it does not.
    """
    end = size if end is None else end
    if not 0 <= start <= end <= size:
        raise IntegrityError("shorter than what refers to it", where=name, observed=size, expected=f"{start} to {end}")
    return start, end
