"""Reads an image from its directory or its artifact, with one interface.

An image is opened once. A directory is read through directory descriptors that follow no symlink, an artifact through a
single descriptor. Nothing is looked up by path again, so nobody can replace the image meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from otabuild.errors import ContainerError, InputError, IntegrityError, LimitError, StateError
from otabuild.storage.fs import StrPath, storage_error
from otabuild.storage.zip_reader import ZipEntry, legal_name, read_entries

CHUNK = 1 << 20
_BLOBS = "blobs/sha256"
_DEPTH = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BackendFile(NamedTuple):
    """A file or folder of the image (`name` of a folder ends in `/`); `mode` is the whole st_mode."""

    name: str
    size: int
    mode: int


class Backend(ABC):
    """The files of an image by name, such as `index.json` or `blobs/sha256/<hex>`. Bytes are not verified."""

    is_artifact: bool

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def members(self) -> Iterator[BackendFile]:
        """Yield every file and folder, in storage order (artifact) or by name (directory).

        A folder that does not belong in an image is listed, but not entered.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist.

        Raises:
            IntegrityError: it is not a regular file.
        """

    @abstractmethod
    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts of at most 1 MiB; exactly as many as `size` says.

        Raises:
            IntegrityError: it is missing, not a regular file, or became shorter meanwhile.
            ContainerError: its CRC differs from that in the artifact.
            StorageError: the operating system could not read it.
        """

    @abstractmethod
    def place(self, name: str) -> tuple[str, int]:
        """Return where the bytes of an existing file are: the path of a host file, and the offset in it."""

    def check_apart(self, target: StrPath) -> None:
        """Check that writing to a path leaves the image unchanged.

        Raises:
            StateError: the path is the artifact, or is inside the directory.
        """
        if self._holds(os.fspath(target)):
            hint = "the image would be lost; name another place"
            raise StateError("the target is inside the image", where=os.fspath(target), hint=hint)

    @abstractmethod
    def _holds(self, target: str) -> bool:
        """Return whether writing to a path changes the image."""

    @abstractmethod
    def artifact_digest(self) -> bytes | None:
        """Return the SHA-256 of the artifact as it is now; None for a directory.

        Raises:
            IntegrityError: it became shorter meanwhile.
            StorageError: the operating system could not read it.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every descriptor."""


def open_backend(path: StrPath) -> Backend:
    """Open an image directory or an artifact.

    Raises:
        InputError: the path does not exist, or is neither a directory nor a regular file.
        IntegrityError: the directory, or its blobs folder, is a symlink or missing.
        ContainerError: the artifact is not the strict ZIP of the format.
        StorageError: the operating system could not read it.
    """
    name = os.fspath(path)
    try:
        # O_NONBLOCK: opening a fifo must not block.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError("no such image", where=name) from None
    except OSError as error:
        raise storage_error(error, "open the image", name) from error
    try:
        return _backend_of(fd, name)
    except BaseException:
        os.close(fd)
        raise


def _backend_of(fd: int, name: str) -> Backend:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        if os.path.islink(name):
            raise IntegrityError("the image folder is a symlink", where=name, hint="name the folder it points to")
        return _DirectoryBackend(name, fd)
    if not stat.S_ISREG(status.st_mode):
        raise InputError("neither a folder nor a plain file", where=name, observed=oct(status.st_mode))
    try:
        with _reading(name):
            return _ArtifactBackend(name, fd, read_entries(fd, status.st_size))
    except (ContainerError, LimitError) as error:
        error.where = f"{name}: {error.where}" if error.where else name
        if name.endswith((".yaml", ".yml")):
            error.hint = "this is a recipe; build it first"
        raise


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise IntegrityError("missing", where=name) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise IntegrityError("not a plain file in plain folders", where=name) from None
        raise storage_error(error, "read", name) from error


def _extent(fd: int, offset: int, size: int, name: str) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        with _reading(name):
            part = os.pread(fd, min(CHUNK, end - offset), offset)
        if not part:
            raise IntegrityError("got shorter while it was read", where=name, observed=f"{end - offset} bytes less")
        offset += len(part)
        yield part


class _ArtifactBackend(Backend):
    is_artifact = True

    def __init__(self, path: str, fd: int, entries: list[ZipEntry]) -> None:
        super().__init__(path)
        self._fd = fd
        self.entries = {entry.name: entry for entry in entries}

    def members(self) -> Iterator[BackendFile]:
        return (BackendFile(entry.name, entry.size, entry.mode) for entry in self.entries.values())

    def size(self, name: str) -> int | None:
        entry = self.entries.get(name)
        return None if entry is None else entry.size

    def chunks(self, name: str) -> Iterator[bytes]:
        entry = self.entries.get(name)
        if entry is None:
            raise IntegrityError("missing", where=name)
        crc = 0
        for chunk in _extent(self._fd, entry.offset, entry.size, name):
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != entry.crc:
            raise ContainerError("CRC is wrong", where=name, observed=f"{crc:08x}", expected=f"{entry.crc:08x}")

    def place(self, name: str) -> tuple[str, int]:
        return os.path.realpath(self.path), self.entries[name].offset

    def _holds(self, target: str) -> bool:
        try:
            return os.path.samestat(os.stat(target), os.fstat(self._fd))
        except OSError:
            return False

    def artifact_digest(self) -> bytes | None:
        hasher = hashlib.sha256()
        for chunk in _extent(self._fd, 0, os.fstat(self._fd).st_size, self.path):
            hasher.update(chunk)
        return hasher.digest()

    def close(self) -> None:
        os.close(self._fd)


class _DirectoryBackend(Backend):
    is_artifact = False

    def __init__(self, path: str, fd: int) -> None:
        super().__init__(path)
        self._root = fd
        try:
            with _reading(f"{path}: {_BLOBS}"):
                blobs = os.open("blobs", _DIRECTORY, dir_fd=fd)
                try:
                    self._blobs = os.open("sha256", _DIRECTORY, dir_fd=blobs)
                finally:
                    os.close(blobs)
        except IntegrityError as error:
            error.where, error.what = path, f"not an OTA image: {_BLOBS} is {error.what}"
            raise

    def members(self) -> Iterator[BackendFile]:
        return self._walk(self._root, "")

    def _walk(self, fd: int, prefix: str) -> Iterator[BackendFile]:
        with _reading(prefix or self.path):
            names = sorted(os.listdir(fd))
        for name in names:
            with _reading(prefix + name):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                yield BackendFile(prefix + name, status.st_size, status.st_mode)
                continue
            yield BackendFile(f"{prefix}{name}/", 0, status.st_mode)
            if not legal_name(f"{prefix}{name}/") or prefix.count("/") > _DEPTH:
                continue
            with _reading(prefix + name):
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            try:
                yield from self._walk(child, f"{prefix}{name}/")
            finally:
                os.close(child)

    def size(self, name: str) -> int | None:
        try:
            with self._open(name) as (_, size):
                return size
        except FileNotFoundError:
            return None
        except OSError:
            with _reading(name):
                raise

    def chunks(self, name: str) -> Iterator[bytes]:
        with _reading(name), self._open(name) as (fd, size):
            yield from _extent(fd, 0, size, name)

    def place(self, name: str) -> tuple[str, int]:
        return os.path.join(self.path, name), 0

    def _holds(self, target: str) -> bool:
        # Resolve it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to another place.
        inside, outer = os.path.realpath(os.path.dirname(target.rstrip("/")) or "."), os.path.realpath(self.path)
        return os.path.commonpath((inside, outer)) == outer

    def artifact_digest(self) -> bytes | None:
        return None

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[int, int]]:
        """Yield a descriptor of the file and its size; no component of the name may be a symlink."""
        folder, _, last = name.rpartition("/")
        todo: list[int] = []
        try:
            at = self._blobs if folder == _BLOBS else self._root
            for part in folder.split("/") if folder and folder != _BLOBS else ():
                at = os.open(part, _DIRECTORY, dir_fd=at)
                todo.append(at)
            fd = os.open(last, _FILE, dir_fd=at)
            todo.append(fd)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError("not a plain file", where=name, observed=oct(status.st_mode))
            yield fd, status.st_size
        finally:
            for fd in todo:
                os.close(fd)

    def close(self) -> None:
        os.close(self._blobs)
        os.close(self._root)
