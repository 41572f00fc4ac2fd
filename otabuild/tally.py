"""Counts the work done and reports progress."""

from __future__ import annotations

import threading
from collections.abc import Callable

from otabuild.errors import StorageError

Progress = Callable[[int, int], None]
"""Called now and then, from any thread, with the bytes done and the total."""


class Tally:
    """Counts bytes done out of `total`; thread-safe."""

    def __init__(self, total: int = 0, progress: Progress | None = None) -> None:
        self.total = total
        self._done = 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count bytes and report progress."""
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self.total)

    def check_complete(self, where: str) -> None:
        """Make sure that everything was done.

        Raises:
            StorageError: something was not done.
        """
        if self._done != self.total:
            raise StorageError(
                "not everything was written", where=where, observed=self._done, expected=self.total
            )
