"""What a test leaves open, compared with what was open before: other tests of the process may still hold theirs."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def descriptors() -> set[tuple[str, str]]:
    """The open descriptors of this process, each with what it leads to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the list itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that what runs inside leaves no descriptor open and no thread running."""
    gc.collect()
    held, running = descriptors(), set(threading.enumerate())
    yield
    assert not descriptors() - held
    assert not set(threading.enumerate()) - running
