"""Where an image is read from: one small interface.

`storage/backends.py` opens one by path. A new place to read from is a module with a subclass, and a
line there; the suite in tests/storage/test_backends.py says how it must behave.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from otabuild.errors import IntegrityError, LimitError, StateError
from otabuild.storage.fs import StrPath, storage_error

CHUNK = 1 << 20


class BackendFile(NamedTuple):
    """A file or folder of the image (a folder's `name` ends in `/`); `mode` is all of st_mode."""

    name: str
    size: int
    mode: int


class Wanted(NamedTuple):
    """A file that will be read as a whole, and the size in bytes that it should have."""

    name: str
    size: int


class NoSuchFileError(IntegrityError):
    """A file that does not exist."""


class Backend(ABC):
    """The files of an image by name, as `index.json` or `blobs/sha256/<hex>`, unverified.

    An image is opened once, and nothing of this machine is looked up by its path again, so that
    nobody can replace it meanwhile. Every method may be called from several threads.

    Attributes:
        path: what the user named, for messages.
        is_artifact: whether it is one ZIP.
        is_remote: whether each file costs a request to a server; then what will be read is fetched
            ahead.
        knows_sizes: whether `size` answers at once; if not, nobody should ask what reading the file
            tells anyway.
        lists_files: whether `members` knows every file; if not, it yields none.
        lists_blobs: whether the blobs are among them; in a store of releases, they belong to all
            releases.
    """

    is_artifact = False
    is_remote = False
    knows_sizes = True
    lists_files = True
    lists_blobs = True

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
        """Yield a file from `start` to `end` (None: its size) in parts of at most 1 MiB.

        Raises:
            NoSuchFileError: it is missing.
            IntegrityError: it is not a regular file, shorter than `end`, or became shorter
                meanwhile.
            ContainerError: its CRC differs from that in the artifact; found out only if it is read
                as a whole.
            StorageError: the operating system, or a server, could not read it.
        """

    def whole(self, name: str, size: int | None) -> Iterator[bytes]:
        """Yield all of a file that should have `size`, unknown to `chunks`; raises as that.

        If it has more, not all of them need to come, but more than `size`.
        """
        del size
        return self.chunks(name)

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a whole file of at most `limit` bytes, or None if it does not exist.

        Raises:
            LimitError: it is larger.
            OtabuildError: as `chunks`.
        """
        size = self.size(name)
        if size is None:
            return None
        check_limit(size, limit, name)
        return b"".join(self.chunks(name))

    @abstractmethod
    def total_size(self) -> int | None:
        """Return the bytes of the artifact or of all files; None if blobs are not listed."""

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def joins(self, files: Sequence[Wanted], file: Wanted) -> bool:
        """Return whether it saves work if `fetch_joined` gets some files, and one more."""
        del files, file
        return False

    def fetch_joined(self, files: Sequence[Wanted]) -> Sequence[bytes | None]:
        """Return the bytes of several files; raises as `chunks`.

        None stands for one that `chunks` should be asked for.
        """
        return [b"".join(self.chunks(file.name)) for file in files]

    def expect(self, file: Wanted) -> None:  # noqa: B027 -- most places answer at once
        """Say that a file will soon be read as a whole: its place may begin to fetch it."""

    def check_rest(self) -> None:  # noqa: B027 -- most places leave nothing out
        """Check what opening and reading left out: then all of the container is checked.

        Raises:
            ContainerError: the artifact is not the strict ZIP of the format.
        """

    def traffic(self) -> tuple[int, int] | None:
        """Return how many requests were made, and bytes came back; None without a server."""
        return None

    def artifact_digest(self) -> bytes | None:
        """Return the SHA-256 of the artifact as it is now; None if it is no file here.

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
        # No file can have a name that is too long.
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            raise NoSuchFileError("missing", where=name) from None
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise IntegrityError("not a plain file in plain folders", where=name) from None
        raise storage_error(error, "read", name) from error


def check_limit(size: int, limit: int, name: str) -> None:
    """Check the size of a file or blob that is read into memory.

    Raises:
        LimitError: it is over `limit` bytes.
    """
    if size > limit:
        raise LimitError("too large", where=name, observed=size, expected=f"at most {limit} bytes")


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
            raise IntegrityError(
                "got shorter while it was read", where=name, observed=f"{end - start} bytes less"
            )
        start += len(part)
        yield part


def range_of(size: int, start: int, end: int | None, name: str) -> tuple[int, int]:
    """Return the range that `Backend.chunks` was asked for, if a file of this size has it.

    Raises:
        IntegrityError: it does not.
    """
    end = size if end is None else end
    if not 0 <= start <= end <= size:
        raise IntegrityError(
            "shorter than what refers to it",
            where=name,
            observed=size,
            expected=f"{start} to {end}",
        )
    return start, end
