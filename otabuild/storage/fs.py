"""All changes of the file system, one function per operation; nothing else in otabuild changes it.

This lets a test stop a build or a deployment before or after its n-th change: it sets `observer`,
which is called with the name of the operation and its path before and after each change. Paths may
be relative to a directory descriptor. An OSError becomes a StorageError that names operation and
path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

from otabuild.errors import StateError, StorageError

Phase = Literal["before", "after"]
StrPath = str | os.PathLike[str]

interrupted: Callable[[], BaseException] | None = None
"""Makes what a signal handler raised to end this process; a library that calls back may have turned
it into an error.

The exception itself is not kept: with its traceback, all that was open would stay open until the
interpreter is gone.
"""

observer: Callable[[Phase, str, str], None] | None = None
"""Called before and after each change with (phase, operation, path); for tests."""


class change:  # noqa: N801 reads as a function; a class, because a generator costs more than many of the changes
    """Announces one change to the observer and turns an OSError into a StorageError."""

    __slots__ = ("_operation", "_path")

    def __init__(self, operation: str, path: StrPath) -> None:
        self._operation = operation
        self._path = path

    def __enter__(self) -> None:
        if observer is not None:
            observer("before", self._operation, os.fspath(self._path))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise storage_error(error, self._operation, self._path) from error
        if error is None and observer is not None:
            observer("after", self._operation, os.fspath(self._path))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay a signal that would end the process until a clean-up is complete.

    Python delivers signals only to the main thread, so other threads need nothing.
    """
    came: list[int] = []
    try:
        with ExitStack() as stack:
            for number in _ENDING if threading.current_thread() is threading.main_thread() else ():
                if (handler := signal.getsignal(number)) is not None:  # None: not ours to restore
                    stack.callback(signal.signal, number, handler)
                    signal.signal(number, lambda number, _frame: came.append(number))
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Yield a descriptor, and close it when the block ends."""
    try:
        yield fd
    finally:
        os.close(fd)


def check_names() -> None:
    """Make sure that Python takes names of files for UTF-8, as the names of an image are.

    Raises:
        StateError: it decodes and encodes them by the locale, so they would become other names.
    """
    if sys.getfilesystemencoding() != "utf-8":
        raise StateError(
            "Python reads names of files in another encoding than UTF-8",
            observed=sys.getfilesystemencoding(),
            hint=(
                "start it as `python -X utf8`, or set PYTHONUTF8=1; the commands `otabuild` and "
                "`doit` do so by themselves"
            ),
        )


def storage_error(error: OSError, operation: str, path: object) -> StorageError:
    """Return an OSError as a StorageError."""
    hint = {
        errno.ENOSPC: (
            f"free some space on the disk of {disk_of(path)}, or point the work directory elsewhere"
        ),
        errno.EDQUOT: (
            f"free some of your quota on the disk of {disk_of(path)}, or point "
            "the work directory elsewhere"
        ),
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.EROFS: "choose a place that is not read-only",
        errno.EACCES: "check owner and permissions of the folder",
    }.get(error.errno or 0, "")
    return StorageError(
        f"cannot {operation}", where=path, observed=error.strerror or error, hint=hint
    )


def disk_of(path: object) -> str:
    """Return the mount point of the disk that a path is on, or would be."""
    folder = os.path.abspath(str(path))
    while not os.path.ismount(folder):
        folder = os.path.dirname(folder)
    return folder


def rename(source: StrPath, target: StrPath) -> None:
    """Atomically replace `target` by `source`."""
    with change("rename", target):
        os.rename(source, target)


def remove_tree(path: StrPath) -> None:
    """Remove a directory with its content, if it exists. Links are removed, never followed."""
    with change("remove tree", path), suppress(FileNotFoundError):
        if os.path.islink(path):
            os.unlink(path)
        else:
            shutil.rmtree(path)


def unlink(path: StrPath, *, dir_fd: int | None = None, missing_ok: bool = False) -> None:
    """Remove a file; with `missing_ok`, it may be missing."""
    with change("unlink", path):
        try:
            os.unlink(path, dir_fd=dir_fd)
        except FileNotFoundError:
            if not missing_ok:
                raise


def mkdir(path: StrPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """Make a directory that does not exist yet."""
    with change("mkdir", path):
        os.mkdir(path, mode, dir_fd=dir_fd)


def make_folder(path: StrPath) -> None:
    """Make a directory that does not exist yet, readable by everybody whatever the umask."""
    with change("mkdir", path):
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103 -- a file server publishes it


def symlink(target: str, path: StrPath) -> None:
    """Make a symlink, unless something is there."""
    with change("symlink", path), suppress(FileExistsError):
        os.symlink(target, path)


def rmdir(path: StrPath) -> bool:
    """Remove a directory if it is empty; return whether it is gone."""
    with change("rmdir", path):
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
            return error.errno == errno.ENOENT
    return True


def makedirs(path: StrPath) -> None:
    """Make a directory and its missing parents."""
    with change("mkdir", path):
        os.makedirs(path, exist_ok=True)


def write(fd: int, data: bytes | memoryview, path: StrPath) -> None:
    """Write all of `data` to a descriptor; `path` is for the message."""
    with change("write", path):
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, memoryview(data)[written:])


def pwrite(fd: int, data: bytes | memoryview, offset: int, path: StrPath) -> None:
    """Write all of `data` at an offset of a descriptor."""
    with change("write", path):
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written


def copy_range(source: int, target: int, offset: int, size: int, path: StrPath) -> int:
    """Copy a file's first bytes into another inside the kernel; they may be shared on disk.

    Returns:
        How many bytes were copied; fewer than `size` if the file ends before, or if this is not
        possible here.
    """
    done = 0
    with change("write", path):
        while done < size:
            try:
                copied = os.copy_file_range(
                    source, target, min(size - done, _COPIED), done, offset + done
                )
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                break
            if not copied:
                break
            done += copied
    return done


def punch_hole(fd: int, offset: int, size: int, path: StrPath) -> None:
    """Free the space of a part of a file; it reads as zeros afterwards."""
    with change("punch a hole", path):
        if _libc.fallocate(fd, _PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(size)) != 0:
            raise _last_error()


def start_writing_out(fd: int, offset: int, size: int) -> None:
    """Ask the disk to begin writing a part of a file, so that a later sync waits less."""
    _libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _RANGE_WRITE)


def sync_file_system(fd: int, path: StrPath) -> None:
    """Make everything written to the file system of a descriptor durable (one syncfs)."""
    with change("sync", path):
        if _libc.syncfs(fd) != 0:
            raise _last_error()


def sync_directory(path: StrPath) -> None:
    """Make the names in a directory durable."""
    with (
        change("sync", path),
        closing_fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as fd,
    ):
        os.fsync(fd)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PUNCH_HOLE = 3  # and keep the size
_RANGE_WRITE = 2
_COPIED = 1 << 30
