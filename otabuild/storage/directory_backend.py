"""Reads an image from its directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from otabuild.errors import IntegrityError
from otabuild.storage import fs
from otabuild.storage.backend import Backend, BackendFile, extent, range_of, reading
from otabuild.storage.zip_reader import legal_name

_BLOBS = "blobs/sha256"
_OF_STORE = "../../blobs"
"""The only link that is followed: in a store in a folder, the blobs are those of all releases."""
_DEPTH = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryBackend(Backend):
    """A folder that is read through descriptors, and through no link but a release's in a store."""

    def __init__(self, path: str, fd: int) -> None:
        """Take over a descriptor of the folder.

        Raises:
            IntegrityError: its blobs folder is missing, or a symlink to anywhere but the blobs of a
                store.
            StorageError: the operating system could not read it.
        """
        super().__init__(path)
        self._root = fd
        try:
            with reading(f"{path}: {_BLOBS}"):
                self.lists_blobs = not _is_of_store(fd)
                folder = "blobs" if self.lists_blobs else _OF_STORE
                with fs.closing_fd(os.open(folder, _DIRECTORY, dir_fd=fd)) as blobs:
                    self._blobs = os.open("sha256", _DIRECTORY, dir_fd=blobs)
        except IntegrityError as error:
            error.where, error.what = path, f"not an OTA image: {_BLOBS} is {error.what}"
            if artifact := min(
                (name for name in os.listdir(fd) if name.endswith(".zip")), default=""
            ):
                error.hint = f"name a file in it, such as {os.path.join(path, artifact)}"
            raise

    def members(self) -> Iterator[BackendFile]:
        """See `Backend`."""
        return self._walk(self._root, "")

    def _walk(self, fd: int, prefix: str) -> Iterator[BackendFile]:
        with reading(prefix or self.path):
            names = sorted(os.listdir(fd))
        for name in names:
            if not self.lists_blobs and prefix + name == "blobs":
                continue
            with reading(prefix + name):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                yield BackendFile(prefix + name, status.st_size, status.st_mode)
                continue
            yield BackendFile(f"{prefix}{name}/", 0, status.st_mode)
            if not legal_name(f"{prefix}{name}/") or prefix.count("/") > _DEPTH:
                continue
            with reading(prefix + name):
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            with fs.closing_fd(child):
                yield from self._walk(child, f"{prefix}{name}/")

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        try:
            with self._open(name) as (_, size):
                return size
        except FileNotFoundError:
            return None
        except OSError:
            with reading(name):
                raise

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`."""
        with reading(name), self._open(name) as (fd, size):
            yield from extent(fd, *range_of(size, start, end, name), name)

    def total_size(self) -> int | None:
        """See `Backend`."""
        return sum(member.size for member in self.members()) if self.lists_blobs else None

    def _holds(self, target: str) -> bool:
        # Resolve it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to
        # another place.
        inside = os.path.realpath(os.path.dirname(target.rstrip("/")) or ".")
        own = (os.path.realpath(os.path.join(self.path, part)) for part in ("", "blobs"))
        return any(os.path.commonpath((inside, outer)) == outer for outer in own)

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[int, int]]:
        """Yield a descriptor of the file and its size; no component of the name may be a link."""
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
        """See `Backend`."""
        os.close(self._blobs)
        os.close(self._root)


def _is_of_store(fd: int) -> bool:
    """Return whether the blobs of an image directory are those of a store of releases."""
    try:
        return os.readlink("blobs", dir_fd=fd) == _OF_STORE
    except OSError:
        return False
