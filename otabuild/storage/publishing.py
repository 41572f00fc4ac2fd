"""The one way to publish a file or folder: written beside its place, locked, moved when complete.

`staging` has the names beside the place, and what becomes of them after a kill.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from otabuild.errors import StateError
from otabuild.storage import fs, fs_at
from otabuild.storage.lock import try_lock
from otabuild.storage.staging import (
    BUSY,
    Target,
    check_left,
    make_file,
    make_folder,
    opened,
    remove,
    remove_left,
    staged,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_BUFFER = 1 << 17


@contextmanager
def replacing(path: str, *, mode: int = 0o644, durable: bool = False) -> Iterator[int]:
    """Replace a file: yield a descriptor; the file appears at `path` when the block succeeds.

    The mode is exact regardless of the umask. With `durable`, the file system is synced before the
    rename, and the folder after it. If the block raises, the previous file under `path` is
    unchanged.

    Raises:
        StateError: another process is writing it, or it is not a regular file.
        StorageError: the file cannot be created, synced or renamed.
    """
    _check_replaceable(path)
    fs.makedirs(os.path.dirname(path) or ".")
    with opened(path) as place:
        temporary = place.beside(place.temporary)
        with staged(place, make_file) as fd:
            yield fd
            with fs.change("chmod", temporary):
                os.fchmod(fd, mode)
            if durable:
                fs.sync_file_system(fd, temporary)
            with fs.change("close", temporary):
                # Some file systems report a failed write only now; the lock stays until the rename.
                os.close(os.dup(fd))
            fs_at.rename(place.temporary, place.name, place.folder, path)
        if durable:
            place.sync()


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
    with replacing(path) as fd, io.BufferedWriter(_RawFile(fd, path), _BUFFER) as file:
        yield file


class _RawFile(io.RawIOBase):
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
def making_folder(path: str, *, busy: str) -> Iterator[int]:
    """Make a new folder: yield a descriptor of a private one, which appears when all succeeds.

    Args:
        path: the folder; its parent must exist.
        busy: what to say if another process is making it.

    Raises:
        StateError: another process is making it, or somebody put something there meanwhile.
        StorageError: it cannot be made, synced or renamed; nothing is left behind.
    """
    with opened(path) as place:
        with staged(place, make_folder, busy) as fd:
            yield fd
            fs.sync_file_system(fd, path)
            fs_at.rename_new(place.temporary, place.name, place.folder, path)
        place.sync()


@contextmanager
def replacing_folder(path: str, *, marker: str, check: Callable[[str], None]) -> Iterator[str]:
    """Replace a folder: yield the path of a new one to fill.

    It appears when the block succeeds; its mode is 0755.

    If `path` is a link, the link stays, and the folder that it leads to is replaced. The old and
    the new folder are exchanged. Where the file system cannot do that (a lower layer of overlayfs,
    FUSE), there is a moment without the folder: after a kill in just that moment, the new one lies
    complete beside, and the next run moves it into place.

    Args:
        path: the folder.
        marker: the file by which `check` knows the folder as ours.
        check: called with the path of what is there; raises if it must not be replaced.

    Raises:
        StateError: another process is writing it.
        StorageError: it cannot be made, synced or renamed; the old or the new folder is still
            there, or complete beside.
    """
    real = os.path.realpath(path)
    fs.makedirs(os.path.dirname(real))
    with opened(real) as place:
        _finish_killed(place, marker, check)
        with staged(place, make_folder) as fd:
            if place.status(place.name):
                check(real)
            temporary = place.beside(place.temporary)
            yield temporary
            with fs.change("chmod", temporary):
                os.fchmod(fd, 0o755)
            fs.sync_file_system(fd, temporary)
            _move_into_place(place, marker)
        place.sync()


def remove_folder(path: str, *, marker: str) -> None:
    """Remove a folder.

    If `path` is a link, the link stays, and the folder that it leads to is removed.

    The folder is moved aside first, or `marker` is removed last: a kill must not leave a part that
    nobody knows as ours.

    Raises:
        StateError: another process is writing it.
        StorageError: the operating system refused.
    """
    with opened(os.path.realpath(path)) as place, fs.undisturbed():
        remove_left(place, BUSY)
        with _locked_folder(place, place.name):
            if fs_at.move_folder(place.name, place.temporary, place.folder, place.path):
                remove(place, place.temporary)
            else:
                _empty(place, marker)
                remove(place, place.name)


def _move_into_place(place: Target, marker: str) -> None:
    if not place.status(place.name):
        fs_at.rename_new(place.temporary, place.name, place.folder, place.path)
        return
    # The old folder is locked, too, so that nobody takes it for left over while it has the
    # temporary name.
    with fs.undisturbed(), _locked_folder(place, place.name):
        if fs_at.exchange(place.temporary, place.name, place.folder, place.path):
            remove(place, place.temporary)
            return
        fs_at.rename(place.temporary, place.complete, place.folder, place.path)
        place.sync()
        _replace_by_complete(place, marker)


@contextmanager
def _locked_folder(place: Target, name: str) -> Iterator[None]:
    with fs.change("open", place.beside(name)):
        fd = os.open(name, fs_at.DIRECTORY, dir_fd=place.folder)
    with fs.closing_fd(fd):
        if not try_lock(fd):
            raise StateError(BUSY, where=place.path, hint="let it finish, then try again")
        yield


def _replace_by_complete(place: Target, marker: str) -> None:
    """Put the complete folder in the place of the old one, which goes aside.

    A folder of a lower layer of overlayfs can be emptied but not moved; an empty one gives way to a
    rename.
    """
    is_aside = False
    if place.status(place.name):
        is_aside = fs_at.move_folder(place.name, place.temporary, place.folder, place.path)
        if not is_aside:
            _empty(place, marker)
    fs_at.rename(place.complete, place.name, place.folder, place.path)
    if is_aside:
        remove(place, place.temporary)


def _empty(place: Target, marker: str) -> None:
    """Remove what is in the folder, `marker` last, so that a kill leaves something known."""
    with fs.closing_fd(os.open(place.name, fs_at.DIRECTORY, dir_fd=place.folder)) as fd:
        inside = Target(fd, "", os.path.join(place.path, ""))
        for name in sorted(os.listdir(fd), key=lambda name: name == marker):
            remove(inside, name)


def _finish_killed(place: Target, marker: str, check: Callable[[str], None]) -> None:
    """Move the complete folder of a killed process into place; see `_replace_by_complete`."""
    left = place.status(place.complete)
    if left is None:
        return
    check_left(place, left, place.beside(place.complete))
    with fs.undisturbed(), _locked_folder(place, place.complete):
        remove_left(place, BUSY)
        there = place.status(place.name)
        if there and not (stat.S_ISDIR(there.st_mode) and not os.listdir(place.path)):
            check(place.path)
        _replace_by_complete(place, marker)
        place.sync()
