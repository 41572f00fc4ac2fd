"""Runs commands alternately, and measures each."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""The environment of every command. Python may keep compiled modules, as an installed program
does."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources used by one run of a command.

    Attributes:
        wall: seconds, including the sync of the file systems afterwards.
        cpu: user and system seconds of the command and of all processes that it started.
        peak: resident bytes of the largest of these processes.
    """

    wall: float
    cpu: float
    peak: int

    @classmethod
    def median(cls, runs: Sequence[Usage]) -> Usage:
        """Return the median of each number; of peaks the largest: no limit may be exceeded."""
        return cls(
            statistics.median(run.wall for run in runs),
            statistics.median(run.cpu for run in runs),
            max(run.peak for run in runs),
        )


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Side:
    """A command to measure.

    Attributes:
        name: its name in the output.
        command: program and arguments.
        folder: the working directory.
        prepare: called before each run, not measured.
        environ: additional environment variables.
    """

    name: str
    command: Sequence[str | Path]
    folder: Path
    prepare: Callable[[], object] = nothing
    environ: Mapping[str, str] = field(default_factory=dict)

    def but(
        self,
        *,
        prepare: Callable[[], object] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Side:
        """Return a copy with another preparation, or with more variables."""
        return replace(
            self, prepare=prepare or self.prepare, environ={**self.environ, **(environ or {})}
        )


class Meter:
    """Runs sides; their output goes to a log.

    Args:
        log: the file for the output of the commands.
        rounds: how often each side runs.
    """

    def __init__(self, log: Path, rounds: int) -> None:
        self.rounds = rounds
        self.samples: dict[str, list[Usage]] = {}
        self._log = log

    def compare(self, *sides: Side, times: int = 1) -> list[Usage]:
        """Run the sides in turn, A B A B, and return the medians in the order of the sides.

        Args:
            sides: what to run.
            times: multiplies the number of rounds; for commands that take less than a second.
        """
        runs: list[list[Usage]] = [[] for _ in sides]
        for _ in range(self.rounds * times):
            for side, results in zip(sides, runs, strict=True):
                results.append(self.run(side))
        return [Usage.median(results) for results in runs]

    def run(self, side: Side) -> Usage:
        """Run a side once, from a synced state to a synced state.

        Raises:
            SystemExit: the command failed.
        """
        side.prepare()
        os.sync()
        with self._log.open("ab") as log:
            log.write(f"$ {side.name}: {' '.join(map(str, side.command))}\n".encode())
            log.flush()
            started = time.monotonic()
            process = subprocess.Popen(
                side.command,
                cwd=side.folder,
                env={**_ENVIRON, **side.environ},
                stdout=log,
                stderr=log,
            )
            _, status, used = os.wait4(process.pid, 0)
            os.sync()
            wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{side.name}: ended with {process.returncode}; {self._log} says why")
        usage = Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
        self.samples.setdefault(side.name, []).append(usage)
        return usage
