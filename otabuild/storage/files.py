"""Writes and reads whole files; a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_BUFFER = 1 << 17
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFT = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def alone(path: str) -> Iterator[int]:
    """Keep other otabuild processes from writing `path`: yield a new locked file beside it, removed at the end.

    Raises:
        StateError: another process is writing it.
        StorageError: the file cannot be created.
    """
    temporary = _beside(path)
    fs.makedirs(os.path.dirname(path) or ".")
    fd = -1
    try:
        with fs.undisturbed():
            fd = _create(path)
        yield fd
    finally:
        if fd != -1:
            with fs.undisturbed(), suppress(StorageError, OSError):
                if _is_at(temporary, fd):
                    fs.unlink(temporary)
                os.close(fd)


def _beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.otabuild-tmp")


def _create(path: str) -> int:
    temporary = _beside(path)
    while True:
        with fs.change("create", temporary), suppress(FileExistsError):
            fd = os.open(temporary, _NEW, 0o600)
            if fs.lock(fd) and _is_at(temporary, fd):
                return fd
            os.close(fd)  # another process took it for what a killed one left, and removed it
            continue
        _remove_left(path)


def _remove_left(path: str) -> None:
    """Remove the temporary file of a killed process; a running process holds a lock on it."""
    temporary = _beside(path)
    try:
        fd = os.open(temporary, _LEFT)
    except FileNotFoundError:
        return
    except OSError as error:
        raise fs.storage_error(error, "open what an earlier run left", temporary) from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            raise StateError(
                "something that is not ours has the name of our temporary file",
                where=temporary,
                observed=f"mode {found.st_mode:o}, owner {found.st_uid}, {found.st_nlink} links",
                hint="find out who put it there; nobody else should be able to write to this folder",
            )
        if not fs.lock(fd):
            raise StateError("another process is writing this", where=path, hint="let it finish, then try again")
        if _is_at(temporary, fd):
            fs.unlink(temporary)
    finally:
        os.close(fd)


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


@contextmanager
def replacing(path: str, *, mode: int = 0o644, durable: bool = False) -> Iterator[int]:
    """Replace a file: yield a descriptor to write to; the file appears under `path` when the block succeeds.

    The mode is exact regardless of the umask. With `durable`, the file system is synced before the rename, and the
    folder after it. If the block raises, the previous file under `path` is unchanged.

    Raises:
        StateError: another process is writing it, or it is not a regular file.
        StorageError: the file cannot be created, synced or renamed.
    """
    _check_replaceable(path)
    temporary = _beside(path)
    with alone(path) as fd:
        yield fd
        with fs.change("chmod", temporary):
            os.fchmod(fd, mode)
        if durable:
            fs.sync_file_system(fd, temporary)
        with fs.change("close", temporary):
            os.close(os.dup(fd))  # some file systems report a failed write only now; the lock stays until the rename
        fs.rename(temporary, path)
    if durable:
        fs.sync_directory(os.path.dirname(path) or ".")


def _check_replaceable(path: str) -> None:
    """Refuse devices, pipes and the like, and the links by which a process finds its own files."""
    with suppress(OSError):
        leads_to = os.readlink(path) if os.path.islink(path) else ""
        if not stat.S_ISREG(mode := os.stat(path).st_mode) or leads_to.startswith("/proc/"):
            raise StateError(
                "not a plain file, and must not be replaced by one",
                where=path,
                observed=f"mode {mode:o}",
                hint="name a file",
            )


@contextmanager
def replacing_stream(path: str) -> Iterator[BinaryIO]:
    """Do the same as `replacing`, but yield a buffered file to write to.

    Raises:
        StorageError: the file cannot be created, written or renamed.
    """
    with replacing(path) as fd, io.BufferedWriter(_Writer(fd, path), _BUFFER) as file:
        yield file


class _Writer(io.RawIOBase):
    """Writes everything to a descriptor in each call."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd, self._path = fd, path

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        fs.write(self._fd, view, self._path)
        return view.nbytes


@contextmanager
def creating(path: str) -> Iterator[int]:
    """Write a file that must not exist yet, inside a folder that is itself moved into place later; its mode is 0644.

    Raises:
        StorageError: it cannot be created, or already exists.
    """
    with fs.change("create", path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        yield fd
        with fs.change("chmod", path):
            os.fchmod(fd, 0o644)
    finally:
        with fs.change("close", path):
            os.close(fd)


def write_file(path: str, data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Write a whole file as `replacing` does."""
    with replacing(path, mode=mode, durable=durable) as fd:
        fs.write(fd, data, path)


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
        raise StorageError("file too large", where=path, observed=f"over {limit} bytes", expected=f"at most {limit}")
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
    """Return the state of everything in a directory (also behind a link), with names, as one digest.

    Raises:
        StorageError: it cannot be walked.
    """
    sha256, todo = hashlib.sha256(), [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(path, folder)) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
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
