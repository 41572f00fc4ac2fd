"""Allows one writer at a time in a work directory."""

from __future__ import annotations

import fcntl
import json
import os

from otabuild.errors import StateError
from otabuild.storage import fs


class WorkLock:
    """An exclusive lock on a work directory, held until `release` or the end of the process.

    The lock is the kernel's (flock), so a killed holder does not leave it behind; the file only says who holds it.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "lock")
        fs.makedirs(folder)
        with fs.change("create", self.path):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def acquire(self, *, started: str, wait: bool = False) -> None:
        """Take the lock and record who holds it; `started` says since when, for messages of other processes.

        Raises:
            StateError: another process holds it, and `wait` is false.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise fs.storage_error(error, "lock", self.path) from error
            raise StateError(
                "another build is running in this directory",
                where=os.path.dirname(self.path),
                observed=self._holder(),
                hint="let it finish, or set OTABUILD_WAIT=1 to wait for it",
            ) from None
        with fs.change("truncate", self.path):
            os.ftruncate(self._fd, 0)
        fs.pwrite(self._fd, json.dumps({"pid": os.getpid(), "started": started}).encode(), 0, self.path)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def _holder(self) -> str:
        try:
            holder = json.loads(os.pread(self._fd, 4096, 0))
            return f"pid {holder['pid']}, started {holder['started']}"
        except (ValueError, KeyError, TypeError):
            return "a process that has just started"
