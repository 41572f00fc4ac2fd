"""All locks: the kernel's (flock), so that a killed holder leaves none behind."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from otabuild.errors import StateError
from otabuild.format.json_text import load_json
from otabuild.storage import fs

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def try_lock(fd: int) -> bool:
    """Lock a file or folder until its descriptor is closed; return False if another process has it.

    It also returns True on a file system without locks; there, only one process at a time is
    supported.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def waiting_for_others(path: str) -> Iterator[None]:
    """Hold the lock of a file, made if missing; wait while another process has it."""
    with fs.closing_fd(_open_lock(path)) as fd:
        with fs.change("lock", path):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def _open_lock(path: str) -> int:
    check_ours(path)
    with fs.change("create", path):
        return os.open(path, _LOCK_FILE, 0o644)


def check_ours(path: str) -> None:
    """Check a file of the work directory before it is written to, if it exists.

    Raises:
        StateError: it is a link, a fifo or the like: by those, somebody else would choose what we
            write to.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise StateError(
                "something that is not ours has the name of a file of the work directory",
                where=path,
                observed=f"mode {found.st_mode:o}, {found.st_nlink} links",
                hint="remove it; it will be made again",
            )


def _check_folders(folder: str) -> None:
    """Check that the folders below a work directory lie in it.

    Raises:
        StateError: one is a link. Whoever wrote a restored work directory would choose where we
            write and remove files.
    """
    for parent, names, _ in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            if os.path.islink(path):
                raise StateError(
                    "a folder of the work directory is a link to another place",
                    where=path,
                    observed=os.readlink(path),
                    hint=(
                        "remove the link; the folder will be made again. Only the whole work "
                        "directory may be a link"
                    ),
                )


class WorkLock:
    """An exclusive lock on a work directory, held until `release` or the end of the process.

    The file only says who holds it.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "lock")
        fs.makedirs(folder)
        self._fd = _open_lock(self.path)

    def acquire(self, *, started: str, waiting: Callable[[str], None] | None = None) -> None:
        """Take the lock and record its holder; `started` says since when, in others' messages.

        Args:
            started: the time of this run.
            waiting: called with who holds the lock before waiting for it; without this function,
                nothing is waited for.

        Raises:
            StateError: another process holds it, and is not waited for; or a folder of the work
                directory is a link.
        """
        with fs.change("lock", self.path):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise StateError(
                        "another build is running in this directory",
                        where=os.path.dirname(self.path),
                        observed=self._holder(),
                        hint="let it finish, or set OTABUILD_WAIT=1 to wait for it",
                    ) from None
                waiting(self._holder())
                fcntl.flock(self._fd, fcntl.LOCK_EX)
        _check_folders(os.path.dirname(self.path))
        with fs.change("truncate", self.path):
            os.ftruncate(self._fd, 0)
        fs.pwrite(
            self._fd, json.dumps({"pid": os.getpid(), "started": started}).encode(), 0, self.path
        )

    def release(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def _holder(self) -> str:
        try:
            holder = load_json(os.pread(self._fd, 4096, 0))
            return f"pid {holder['pid']}, started {holder['started']}"
        except (ValueError, KeyError, TypeError):
            return "a process that has just started"
