"""Progress on stderr: one line that is alive on a terminal, an occasional plain line in a log.

A thread draws the line anew a few times a second, so that it also moves while a step counts
nothing. Whoever prints something else does so within `above`, which takes the line away meanwhile.
"""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from otabuild.format.sizes import human_size

_QUIET_SECONDS = 30
_TICK_SECONDS = 0.2
_ETA_AFTER = 3, 0.05
"""Seconds, and share of the work, after which the time that is left can be guessed."""
_SPINNER = "|/-\\"
_ERASE = "\r\x1b[K"

_quiet = False


class _Live:
    """What is currently shown, and the thread that shows it."""

    lock = threading.RLock()
    thread: threading.Thread | None = None
    owner = 0
    what = ""
    done = total = 0
    since = said = next_look = 0.0
    drawn = False
    ended = threading.Event()


def silence() -> None:
    """Stop showing progress."""
    global _quiet  # noqa: PLW0603  (one switch of the process, for -q)
    _quiet = True


def _is_live() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again."""
    with suppress(OSError, ValueError, AttributeError):  # a stream that was closed before is None
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _columns() > 0
    return False


def _columns() -> int:
    return os.get_terminal_size(sys.stderr.fileno()).columns


def tell(text: str) -> None:
    """Show a message, if progress is to be shown."""
    if not _quiet:
        with above():
            print(fitted(text, sys.stderr), file=sys.stderr, flush=True)


def fitted(text: str, stream: TextIO) -> str:
    """Return text for people, with lines broken between words where a terminal would break any."""
    if not (stream.isatty() and (columns := os.get_terminal_size(stream.fileno()).columns)):
        return text
    lines = (
        textwrap.wrap(
            line, columns, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.splitlines()
    )
    return "\n".join(line for wrapped in lines for line in wrapped)


@contextmanager
def above() -> Iterator[None]:
    """Take the live line away while something is printed."""
    with _Live.lock:
        _erase()
        yield


def clear() -> None:
    """Take the live line away, until there is progress again."""
    with _Live.lock:
        _erase()
        _Live.what = ""
        _Live.ended.set()


def show_progress(what: str, done: int, total: int) -> None:
    """Record that `done` bytes of `total` (0: unknown) are done; show nothing of "".

    May be called from any thread.
    """
    if not what:
        clear()
    if _quiet or not what:
        return
    with _Live.lock:
        now = time.monotonic()
        if _Live.what != what:
            _Live.what, _Live.since, _Live.said, _Live.next_look = what, now, now, now
        _Live.done, _Live.total = done, total
        # Called for each of many small contents, and looking takes longer than these.
        if now < _Live.next_look:
            return
        _Live.next_look = now + _TICK_SECONDS
        if _is_live():
            _start()
        elif now - _Live.said > _QUIET_SECONDS and total:
            _Live.said = now
            print(f"{what}: {human_size(done)} of {human_size(total)}", file=sys.stderr, flush=True)


def _start() -> None:
    """Start the thread, unless the terminal is only lent to this process.

    So are those of processes of `doit -n`.
    """
    if _Live.owner not in (0, os.getpid()):
        return
    _Live.owner = os.getpid()
    if _Live.thread is None or not _Live.thread.is_alive() or _Live.ended.is_set():
        # Its own event: that of a thread which is about to end must stay set.
        _Live.ended = threading.Event()
        _Live.thread = threading.Thread(target=_tick, args=(_Live.ended,), daemon=True)
        _Live.thread.start()


def _tick(ended: threading.Event) -> None:
    number = 0
    while not ended.wait(_TICK_SECONDS if number else 0):
        with _Live.lock:
            if _Live.what and not ended.is_set():
                _draw(number)
        number += 1


def _draw(number: int) -> None:
    with suppress(OSError, ValueError):  # the terminal is gone
        line = f"{_SPINNER[number % len(_SPINNER)]} {_line()}"
        sys.stderr.write(f"{_ERASE}{line[: max(_columns(), 2) - 1]}")
        sys.stderr.flush()
        _Live.drawn = True


def _line() -> str:
    seconds, done, total = time.monotonic() - _Live.since, _Live.done, _Live.total
    if not 0 < done <= total:
        return f"{_Live.what}  {f'{human_size(done)}, ' if done else ''}{_duration(seconds)}"
    line = f"{_Live.what}  {human_size(done)} of {human_size(total)}, {100 * done // total} %"
    if seconds < _ETA_AFTER[0] or done < _ETA_AFTER[1] * total:
        return line
    return f"{line}, {_duration(seconds * (total - done) / done)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _erase() -> None:
    if _Live.drawn:
        with suppress(OSError, ValueError):
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
        _Live.drawn = False


def _before_fork() -> None:
    """End the thread: a process with threads should not be copied.

    No copy may wait for a lock of a thread that it lacks.
    """
    clear()
    if _Live.thread is not None:
        _Live.thread.join()
        _Live.thread = None
    _Live.owner = os.getpid()


os.register_at_fork(before=_before_fork)
