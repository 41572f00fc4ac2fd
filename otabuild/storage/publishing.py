"""The one way to publish a file or a folder: written beside its place, under a lock, and moved there when complete.

    .NAME.otabuild-tmp      what is being written, locked by its writer; without a lock, a killed process left it
    .NAME.otabuild-new      a complete folder on its way into place, where the file system cannot exchange two folders

Everything happens below a descriptor of the folder that contains the place, so nobody can lead it elsewhere meanwhile.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs, fs_at
from otabuild.storage.lock import try_lock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_BUFFER = 1 << 17
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFT = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HINT = "find out who put it there; nobody else should be able to write to this folder"
_BUSY = "another process is writing this"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something will appear: a descriptor of the folder, and the name in it; `path` is for messages."""

    folder: int
    name: str
    path: str

    @property
    def temporary(self) -> str:
        return f".{self.name}.otabuild-tmp"

    @property
    def complete(self) -> str:
        return f".{self.name}.otabuild-new"

    def beside(self, name: str) -> str:
        """Return the path of a name in the same folder, for messages."""
        return os.path.join(os.path.dirname(self.path), name)

    def status(self, name: str) -> os.stat_result | None:
        """Look at a name in the folder, never through a link; None if it is free."""
        try:
            return os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, name: str, fd: int) -> bool:
        """Whether the name still leads to the open file or folder."""
        status = self.status(name)
        return status is not None and os.path.samestat(status, os.fstat(fd))

    def sync(self) -> None:
        """Make the names in the folder durable."""
        with fs.change("sync", os.path.dirname(self.path) or "."):
            os.fsync(self.folder)


@contextmanager
def _place(path: str) -> Iterator[_Place]:
    # Split it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to another place.
    parent, name = os.path.split(path)
    try:
        folder = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise fs.storage_error(error, "open the folder", parent or ".") from error
    try:
        yield _Place(folder, name, path)
    finally:
        os.close(folder)


@contextmanager
def _staged(place: _Place, make: Callable[[_Place], int], busy: str = _BUSY) -> Iterator[int]:
    """Yield a descriptor of something new and locked under the temporary name; what has that name later is removed."""
    fd = -1
    try:
        with fs.undisturbed():
            fd = _make(place, make, busy)
        yield fd
    finally:
        if fd != -1:
            with fs.undisturbed(), suppress(StorageError, OSError):
                if place.names(place.temporary, fd):
                    _remove(place, place.temporary)
                os.close(fd)


def _make(place: _Place, make: Callable[[_Place], int], busy: str) -> int:
    while True:
        with suppress(FileExistsError):
            fd = make(place)
            if try_lock(fd) and place.names(place.temporary, fd):
                return fd
            os.close(fd)  # another process took it for what a killed one left, and removed it
            continue
        _remove_left(place, busy)


def _make_file(place: _Place) -> int:
    with fs.change("create", place.beside(place.temporary)), suppress(FileExistsError):
        return os.open(place.temporary, _NEW, 0o600, dir_fd=place.folder)
    raise FileExistsError


def _make_folder(place: _Place) -> int:
    if place.status(place.temporary):
        raise FileExistsError
    path = place.beside(place.temporary)
    fs_at.make_folder(place.temporary, place.folder, path)
    try:
        return os.open(place.temporary, fs_at.DIRECTORY, dir_fd=place.folder)
    except OSError as error:
        fs_at.remove(place.temporary, place.folder, path, is_directory=True)
        raise fs.storage_error(error, "open", path) from error


def _remove_left(place: _Place, busy: str) -> None:
    """Remove what a killed process left under the temporary name; a running process holds a lock on it."""
    path = place.beside(place.temporary)
    status = place.status(place.temporary)
    if status is None:
        return
    _check_left(place, status, path)
    try:
        fd = os.open(place.temporary, fs_at.DIRECTORY if stat.S_ISDIR(status.st_mode) else _LEFT, dir_fd=place.folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise fs.storage_error(error, "open what an earlier run left", path) from error
    try:
        _check_left(place, os.fstat(fd), path)
        if not try_lock(fd):
            raise StateError(busy, where=place.path, hint="let it finish, then try again")
        if place.names(place.temporary, fd):
            _remove(place, place.temporary)
    finally:
        os.close(fd)


def _check_left(place: _Place, left: os.stat_result, path: str) -> None:
    """Check that what seems to be left was made here, before it is removed.

    A file of ours without other links is ours to remove wherever it lies. A folder may hold what others moved there.

    Raises:
        StateError: somebody else may have put it there, or renamed something of ours to it.
    """
    mode = f"mode {left.st_mode:o}, owner {left.st_uid}, {left.st_nlink} links"
    if stat.S_ISDIR(left.st_mode):
        folder = os.fstat(place.folder)
        writers = 0o002 if folder.st_gid == os.getegid() else 0o022  # our own group is often ours alone (umask 002)
        others_may_rename = folder.st_mode & writers and not folder.st_mode & stat.S_ISVTX
        if left.st_uid != os.geteuid() or folder.st_uid not in (0, os.geteuid()) or others_may_rename:
            raise StateError(
                "something has the name of our temporary folder, and others may write to the folder that contains it",
                where=path,
                observed=f"owner {left.st_uid}; folder of owner {folder.st_uid}, mode {stat.S_IMODE(folder.st_mode):04o}",
                hint="remove it, if an earlier run left it",
            )
    elif not stat.S_ISREG(left.st_mode) or left.st_uid != os.geteuid() or left.st_nlink > 1:
        raise StateError(
            "something that is not ours has the name of our temporary file", where=path, observed=mode, hint=_HINT
        )


def _remove(place: _Place, name: str) -> None:
    status = place.status(name)
    if status is not None and stat.S_ISDIR(status.st_mode):
        fs_at.remove_tree(name, place.folder, place.beside(name))
    else:
        fs_at.remove(name, place.folder, place.beside(name), is_directory=False)


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
    fs.makedirs(os.path.dirname(path) or ".")
    with _place(path) as place:
        temporary = place.beside(place.temporary)
        with _staged(place, _make_file) as fd:
            yield fd
            with fs.change("chmod", temporary):
                os.fchmod(fd, mode)
            if durable:
                fs.sync_file_system(fd, temporary)
            with fs.change("close", temporary):
                os.close(
                    os.dup(fd)
                )  # some file systems report a failed write only now; the lock stays until the rename
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
def making_folder(path: str, *, busy: str) -> Iterator[int]:
    """Make a folder that does not exist: yield a descriptor of a private one, which appears when the block succeeds.

    Args:
        path: the folder; its parent must exist.
        busy: what to say if another process is making it.

    Raises:
        StateError: another process is making it, or somebody put something there meanwhile.
        StorageError: it cannot be made, synced or renamed; nothing is left behind.
    """
    with _place(path) as place:
        with _staged(place, _make_folder, busy) as fd:
            yield fd
            fs.sync_file_system(fd, path)
            fs_at.rename_new(place.temporary, place.name, place.folder, path)
        place.sync()


@contextmanager
def replacing_folder(path: str, *, marker: str, check: Callable[[str], None]) -> Iterator[str]:
    """Replace a folder: yield the path of a new one to fill, which appears when the block succeeds; its mode is 0755.

    If `path` is a link, the link stays, and the folder that it leads to is replaced. The old and the new folder are
    exchanged. Where the file system cannot do that (a lower layer of overlayfs, FUSE), there is a moment without the
    folder: after a kill in just that moment, the new one lies complete beside, and the next run moves it into place.

    Args:
        path: the folder.
        marker: the file by which `check` knows the folder as ours.
        check: called with the path of what is there; raises if it must not be replaced.

    Raises:
        StateError: another process is writing it.
        StorageError: it cannot be made, synced or renamed; the old or the new folder is still there, or complete beside.
    """
    real = os.path.realpath(path)
    fs.makedirs(os.path.dirname(real))
    with _place(real) as place:
        _finish_killed(place, marker, check)
        with _staged(place, _make_folder) as fd:
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
    """Remove a folder. If `path` is a link, the link stays, and the folder that it leads to is removed.

    The folder is moved aside first, or `marker` is removed last: a kill must not leave a part that nobody knows as ours.

    Raises:
        StateError: another process is writing it.
        StorageError: the operating system refused.
    """
    with _place(os.path.realpath(path)) as place, fs.undisturbed():
        _remove_left(place, _BUSY)
        with _locked_folder(place, place.name):
            if fs_at.move_folder(place.name, place.temporary, place.folder, place.path):
                _remove(place, place.temporary)
            else:
                _empty(place, marker)
                _remove(place, place.name)


def _move_into_place(place: _Place, marker: str) -> None:
    if not place.status(place.name):
        fs_at.rename_new(place.temporary, place.name, place.folder, place.path)
        return
    # The old folder is locked, too, so that nobody takes it for left over while it has the temporary name.
    with fs.undisturbed(), _locked_folder(place, place.name):
        if fs_at.exchange(place.temporary, place.name, place.folder, place.path):
            _remove(place, place.temporary)
            return
        fs_at.rename(place.temporary, place.complete, place.folder, place.path)
        place.sync()
        _replace_by_complete(place, marker)


@contextmanager
def _locked_folder(place: _Place, name: str) -> Iterator[None]:
    with fs.change("open", place.beside(name)):
        fd = os.open(name, fs_at.DIRECTORY, dir_fd=place.folder)
    try:
        if not try_lock(fd):
            raise StateError(_BUSY, where=place.path, hint="let it finish, then try again")
        yield
    finally:
        os.close(fd)


def _replace_by_complete(place: _Place, marker: str) -> None:
    """Put the complete folder in the place of the old one, which goes aside.

    A folder of a lower layer of overlayfs can be emptied but not moved; an empty one gives way to a rename.
    """
    is_aside = False
    if place.status(place.name):
        is_aside = fs_at.move_folder(place.name, place.temporary, place.folder, place.path)
        if not is_aside:
            _empty(place, marker)
    fs_at.rename(place.complete, place.name, place.folder, place.path)
    if is_aside:
        _remove(place, place.temporary)


def _empty(place: _Place, marker: str) -> None:
    """Remove what is in the folder, `marker` last, so that a kill leaves something that is known as ours."""
    fd = os.open(place.name, fs_at.DIRECTORY, dir_fd=place.folder)
    try:
        inside = _Place(fd, "", os.path.join(place.path, ""))
        for name in sorted(os.listdir(fd), key=lambda name: name == marker):
            _remove(inside, name)
    finally:
        os.close(fd)


def _finish_killed(place: _Place, marker: str, check: Callable[[str], None]) -> None:
    """Move the complete folder of a killed process into place; see `_replace_by_complete`."""
    left = place.status(place.complete)
    if left is None:
        return
    _check_left(place, left, place.beside(place.complete))
    with fs.undisturbed(), _locked_folder(place, place.complete):
        _remove_left(place, _BUSY)
        there = place.status(place.name)
        if there and not (stat.S_ISDIR(there.st_mode) and not os.listdir(place.path)):
            check(place.path)
        _replace_by_complete(place, marker)
        place.sync()
