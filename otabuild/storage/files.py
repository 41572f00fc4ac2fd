"""Writes and reads whole files; a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs
from otabuild.storage.publishing import replacing


@contextmanager
def creating(path: str) -> Iterator[int]:
    """Write a new file, with mode 0644, inside a folder that is moved into place later.

    Raises:
        StorageError: it cannot be created, or already exists.
    """
    with fs.change("create", path):
        fd = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
    try:
        yield fd
        with fs.change("chmod", path):
            os.fchmod(fd, 0o644)
    finally:
        with fs.change("close", path):
            os.close(fd)


@contextmanager
def appending(path: str) -> Iterator[tuple[int, int]]:
    """Go on writing a file of ours, which may be missing.

    Yields a descriptor, and the bytes that are there.

    Raises:
        StorageError: it cannot be opened.
    """
    with fs.change("create", path):
        fd = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    try:
        yield fd, os.fstat(fd).st_size
    finally:
        with fs.change("close", path):
            os.close(fd)


def write_file(path: str, data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Write a whole file as `publishing.replacing` does."""
    with replacing(path, mode=mode, durable=durable) as fd:
        fs.write(fd, data, path)


def write_new_files(
    folder: str, contents: Mapping[str, bytes], secret: Container[str]
) -> list[str]:
    """Write several new files into a folder, which is made if it is missing: all of them, or none.

    Args:
        folder: where.
        contents: by the names of the files.
        secret: the names of those that only their owner may read.

    Returns:
        Their paths.

    Raises:
        StateError: one of them is already there; nothing is overwritten.
        StorageError: one cannot be written.
    """
    paths = [os.path.join(folder, name) for name in contents]
    for path in filter(os.path.lexists, paths):
        raise StateError(
            "already there, and never overwritten", where=path, hint="choose another folder"
        )
    fs.makedirs(folder)
    try:
        for path, (name, content) in zip(paths, contents.items(), strict=True):
            write_file(path, content, mode=0o600 if name in secret else 0o644)
    except BaseException:
        for path in paths:
            fs.unlink(path, missing_ok=True)
        raise
    return paths


def read_file(path: str, limit: int | None = None) -> bytes:
    """Return all bytes of a file.

    Raises:
        StorageError: it cannot be read, is not a regular file, or has more than `limit` bytes.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StorageError("not a plain file", where=path)
            data = file.read() if limit is None else file.read(limit + 1)
    except OSError as error:
        raise fs.storage_error(error, "read", path) from None
    if limit is not None and len(data) > limit:
        raise StorageError(
            "file too large",
            where=path,
            observed=f"over {limit} bytes",
            expected=f"at most {limit}",
        )
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open as `open` does, but never wait for the writer of a fifo."""
    return os.open(path, flags | os.O_NONBLOCK)


def file_state(path: str) -> list[int]:
    """Return what shows that a file is unchanged: inode, size, mtime and ctime (in nanoseconds).

    Raises:
        StorageError: it does not exist.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        raise fs.storage_error(error, "look at", path) from None
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def tree_state(path: str) -> str:
    """Return the state of all in a directory (also behind a link), with names, as a digest.

    Raises:
        StorageError: it cannot be walked.
    """
    sha256, todo = hashlib.sha256(), [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(path, folder)) as entries:
                found = sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
                )
        except OSError as error:
            raise fs.storage_error(error, "look at", os.path.join(path, folder)) from None
        for name, is_folder in found:
            below = os.path.join(folder, name)
            sha256.update(repr((below, file_state(os.path.join(path, below)))).encode())
            todo += [below] if is_folder else []
    return sha256.hexdigest()


def hash_file(path: str) -> str:
    """Return the SHA-256 of a file, as hex.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise fs.storage_error(error, "read", path) from None
