"""What is written beside its place before it appears: made, locked, removed after a kill.

    .NAME.otabuild-tmp      what is being written, locked by its writer; without a lock, it was left
                            by a killed process
    .NAME.otabuild-new      a complete folder on its way into place, where the file system cannot
                            exchange two folders

`publishing` says how each kind of thing gets from there to its place. Everything happens below a
descriptor of the folder that contains the place, so nobody can lead it elsewhere meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs, fs_at
from otabuild.storage.lock import try_lock

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFT = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BUSY = "another process is writing this"


@dataclass(frozen=True, slots=True)
class Target:
    """Where something will appear: the folder's descriptor, the name; `path` is for messages."""

    folder: int
    name: str
    path: str

    @property
    def temporary(self) -> str:
        """The name of what is being written."""
        return f".{self.name}.otabuild-tmp"

    @property
    def complete(self) -> str:
        """The name of a complete folder."""
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
def opened(path: str) -> Iterator[Target]:
    """Open the folder that contains a place.

    Raises:
        StorageError: it is missing, or cannot be read.
    """
    # Split it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to another
    # place.
    parent, name = os.path.split(path)
    try:
        folder = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise fs.storage_error(error, "open the folder", parent or ".") from error
    with fs.closing_fd(folder):
        yield Target(folder, name, path)


@contextmanager
def staged(place: Target, make: Callable[[Target], int], busy: str = BUSY) -> Iterator[int]:
    """Yield a descriptor of something new and locked under the temporary name.

    What has that name later is removed.
    """
    fd = -1
    try:
        with fs.undisturbed():
            fd = _make(place, make, busy)
        yield fd
    except StorageError as error:
        _name_the_disk(error, place)
        raise
    finally:
        if fd != -1:
            with fs.undisturbed(), suppress(StorageError, OSError):
                if place.names(place.temporary, fd):
                    remove(place, place.temporary)
                os.close(fd)


def _name_the_disk(error: StorageError, place: Target) -> None:
    """Say which disk is full: often another than the work directory's, of the usual hint."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = os.path.abspath(os.path.dirname(place.path))
        free = _free_bytes(place.folder)
        error.observed = f"{cause.strerror}; {free} bytes free on the disk of {folder}"
        error.hint = "free some space there, or write to a place on another disk"


def _free_bytes(folder: int | str) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def check_room(folder: int | str, size: int, path: str) -> None:
    """Check that a disk has room before anything large is written to it.

    Args:
        folder: something on the disk: a descriptor or a path.
        size: the bytes that will be written.
        path: what will be written, for the message.

    Raises:
        StorageError: it has not.
    """
    free = _free_bytes(folder)
    if size > free:
        raise StorageError(
            "not enough space",
            where=path,
            observed=f"{free} bytes free on its disk",
            expected=f"{size} bytes",
            hint="free some space there, or write to a place on another disk",
        )


def _make(place: Target, make: Callable[[Target], int], busy: str) -> int:
    while True:
        with suppress(FileExistsError):
            fd = make(place)
            if try_lock(fd) and place.names(place.temporary, fd):
                return fd
            os.close(fd)  # another process took it for what a killed one left, and removed it
            continue
        remove_left(place, busy)


def make_file(place: Target) -> int:
    """Make a private file under the temporary name, and return its descriptor.

    FileExistsError if the name is taken.
    """
    with fs.change("create", place.beside(place.temporary)), suppress(FileExistsError):
        return os.open(place.temporary, _NEW, 0o600, dir_fd=place.folder)
    raise FileExistsError


def make_folder(place: Target) -> int:
    """Do the same as `make_file` with a folder."""
    if place.status(place.temporary):
        raise FileExistsError
    path = place.beside(place.temporary)
    fs_at.make_folder(place.temporary, place.folder, path)
    try:
        return os.open(place.temporary, fs_at.DIRECTORY, dir_fd=place.folder)
    except OSError as error:
        fs_at.remove(place.temporary, place.folder, path, is_directory=True)
        raise fs.storage_error(error, "open", path) from error


def remove_left(place: Target, busy: str) -> None:
    """Remove what a killed process left under the temporary name; running ones hold a lock."""
    path = place.beside(place.temporary)
    status = place.status(place.temporary)
    if status is None:
        return
    check_left(place, status, path)
    flags = fs_at.DIRECTORY if stat.S_ISDIR(status.st_mode) else _LEFT
    try:
        fd = os.open(place.temporary, flags, dir_fd=place.folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise fs.storage_error(error, "open what an earlier run left", path) from error
    with fs.closing_fd(fd):
        check_left(place, os.fstat(fd), path)
        if not try_lock(fd):
            raise StateError(busy, where=place.path, hint="let it finish, then try again")
        if place.names(place.temporary, fd):
            remove(place, place.temporary)


def check_left(place: Target, left: os.stat_result, path: str) -> None:
    """Check that what seems to be left was made here, before it is removed.

    A file of ours without other links is ours to remove wherever it lies. A folder may hold what
    others moved there.

    Raises:
        StateError: somebody else may have put it there, or renamed something of ours to it.
    """
    if stat.S_ISDIR(left.st_mode):
        folder = os.fstat(place.folder)
        # Our own group is often ours alone (umask 002).
        writers = 0o002 if folder.st_gid == os.getegid() else 0o022
        others_may_rename = folder.st_mode & writers and not folder.st_mode & stat.S_ISVTX
        if (
            left.st_uid != os.geteuid()
            or folder.st_uid not in (0, os.geteuid())
            or others_may_rename
        ):
            raise StateError(
                "something has the name of our temporary folder, and others may write to the "
                "folder that contains it",
                where=path,
                observed=(
                    f"owner {left.st_uid}; folder of owner {folder.st_uid}, mode "
                    f"{stat.S_IMODE(folder.st_mode):04o}"
                ),
                hint="remove it, if an earlier run left it",
            )
    elif not stat.S_ISREG(left.st_mode) or left.st_uid != os.geteuid() or left.st_nlink > 1:
        raise StateError(
            "something that is not ours has the name of our temporary file",
            where=path,
            observed=f"mode {left.st_mode:o}, owner {left.st_uid}, {left.st_nlink} links",
            hint="find out who put it there; nobody else should be able to write to this folder",
        )


def remove(place: Target, name: str) -> None:
    """Remove the file, link or tree with this name."""
    status = place.status(name)
    if status is not None and stat.S_ISDIR(status.st_mode):
        fs_at.remove_tree(name, place.folder, place.beside(name))
    else:
        fs_at.remove(name, place.folder, place.beside(name), is_directory=False)
