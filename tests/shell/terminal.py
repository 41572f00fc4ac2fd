"""Runs a command on a terminal of its own, and records when it wrote what."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.shell.projects import Project

ERASE = "\r\x1b[K"


@dataclass
class Session:
    """What a command wrote to its terminal: the seconds since its start, and the text."""

    writes: list[tuple[float, str]] = field(default_factory=list)
    code: int = -1

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.writes)

    @property
    def silences(self) -> list[float]:
        """Seconds between writes; the first is that before the first write."""
        times = [0.0, *(at for at, _ in self.writes)]
        return [after - before for before, after in pairwise(times)]

    @property
    def drawn(self) -> list[str]:
        """Every state of the live line."""
        return [part for part in re.findall(r"\r\x1b\[K([^\r\n]*)", self.text) if part[:2] in ("| ", "/ ", "- ", "\\ ")]

    @property
    def left(self) -> list[str]:
        """The lines that stay on the screen."""
        return [re.sub(r"\x1b\[[0-9;]*m", "", line.rpartition(ERASE)[2]) for line in self.text.split("\r\n")]


def on_terminal(project: Project, *command: str | Path, columns: int = 80, **env: str) -> Session:
    """Run a command of the project on a terminal with this many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    began, session = time.monotonic(), Session()
    running = subprocess.Popen(
        [sys.executable, *command],
        cwd=project.root,
        env=project.environment(**{"TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": "", "CI": "", **env}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # /dev/tty is this terminal, too
    )
    os.close(theirs)
    while chunk := _read(ours):
        session.writes.append((time.monotonic() - began, chunk.decode()))
    os.close(ours)
    session.code = running.wait()
    return session


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # the last process has closed it
        return b""
