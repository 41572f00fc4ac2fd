"""Progress on stderr: bars on a terminal, an occasional plain line in a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_QUIET_SECONDS = 30
_quiet = False
_lock = threading.Lock()


class _Shown:
    """What is currently shown."""

    what = ""
    bar: tqdm[Any] | None = None
    said = 0.0


def silence() -> None:
    """Stop showing progress."""
    global _quiet  # noqa: PLW0603  (one switch of the process, for -q)
    _quiet = True


def tell(text: str) -> None:
    """Show a message, if progress is to be shown."""
    if not _quiet:
        clear()
        print(text, file=sys.stderr, flush=True)


def clear() -> None:
    """Remove a visible bar."""
    with _lock:
        _end()


def show_progress(what: str, done: int, total: int) -> None:
    """Record that `done` bytes of `total` (0: unknown) are done; may be called from any thread."""
    if _quiet:
        return
    with _lock:
        if _Shown.what != what:
            _begin(what, total)
        if _Shown.bar is not None:
            _Shown.bar.update(done - _Shown.bar.n)
            if done >= total > 0:
                _end()
        elif time.monotonic() - _Shown.said > _QUIET_SECONDS:
            _Shown.said = time.monotonic()
            print(f"{what}: {done >> 20} of {total >> 20} MiB", file=sys.stderr, flush=True)


def _begin(what: str, total: int) -> None:
    _end()
    _Shown.what, _Shown.said = what, time.monotonic()
    if sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0:
        from tqdm import tqdm  # noqa: PLC0415  (it costs more to load than most runs take)

        _Shown.bar = tqdm(
            desc=what, total=total or None, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, leave=False
        )


def _end() -> None:
    if _Shown.bar is not None:
        _Shown.bar.close()
    _Shown.what, _Shown.bar = "", None
