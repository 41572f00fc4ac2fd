"""What the shell takes from its surroundings: settings, clock, environment, the lock, signals."""

from __future__ import annotations

import getpass
import os
import re
import signal
import sys
import time
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

from otabuild.errors import InputError, OtabuildError
from otabuild.image.sizes import parse_size
from otabuild.pipeline.limit import keep_within
from otabuild.pipeline.workspace import WORK, Progress, Workspace
from otabuild.storage.lock import WorkLock

_LOCKED = "OTABUILD_LOCKED"
_held: dict[str, WorkLock] = {}


@dataclass(frozen=True)
class Settings:
    """`[tool.otabuild]` of pyproject.toml in the current folder."""

    recipes: str = "recipes"
    work: str = WORK
    cache_size: str = "20GiB"

    @property
    def limit(self) -> int:
        """How many bytes the work directory may keep for later builds."""
        return parse_size(self.cache_size)


def load_settings() -> Settings:
    """The settings of the project in the current folder; the defaults where it has none.

    Raises:
        InputError: pyproject.toml cannot be read, or says what we do not know.
    """
    try:
        with open("pyproject.toml", "rb") as file:
            table = tomllib.load(file).get("tool", {}).get("otabuild", {})
    except FileNotFoundError:
        return Settings()
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError("cannot read the settings", where="pyproject.toml", observed=error) from None
    known = {"recipes", "work", "cache-size"}
    wrong = sorted(key for key, value in table.items() if key not in known or not isinstance(value, str))
    if wrong:
        raise InputError(
            "settings that are unknown or no strings",
            where="pyproject.toml [tool.otabuild]",
            observed=", ".join(wrong),
            expected=", ".join(sorted(known)),
        )
    settings = Settings(**{key.replace("-", "_"): value for key, value in table.items()})
    try:
        parse_size(settings.cache_size)
    except InputError as error:
        where = "pyproject.toml [tool.otabuild] cache-size"
        raise InputError(error.what, where=where, observed=error.observed, expected=error.expected) from None
    return settings


def make_workspace(settings: Settings, progress: Progress) -> Workspace:
    """The workspace of this process in the current folder.

    Raises:
        InputError: OTABUILD_JOBS is no number.
    """
    return Workspace(
        now_ns=time.time_ns(),
        work=settings.work,
        workers=_workers(),
        environ=os.environ,
        prompt=_ask,
        warn=lambda message: print(f"warning: {message}", file=sys.stderr),
        progress=progress,
    )


def _workers() -> int:
    text = os.environ.get("OTABUILD_JOBS", "")
    if not text:
        return os.cpu_count() or 1
    if not re.fullmatch("0*[1-9][0-9]{0,3}", text):
        raise InputError("no number of threads", where="OTABUILD_JOBS", observed=text[:40], expected="1 to 9999")
    return int(text)


def _ask(what: str) -> bytes:
    if not sys.stdin.isatty():
        raise InputError(
            "nobody is there to ask for the passphrase", where="standard input", hint="use `passphrase: {env: NAME}`"
        )
    return getpass.getpass(what).encode()


def hold_lock(work: str, *, wait: bool = False) -> None:
    """Hold the lock of a work directory until this process ends; worker processes inherit it.

    Raises:
        StateError: another run holds it, and `wait` is false.
    """
    if work in _held or os.environ.get(_LOCKED) == os.path.abspath(work):
        return
    lock = WorkLock(work)
    lock.acquire(started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), wait=wait)
    _held[work] = lock
    os.environ[_LOCKED] = os.path.abspath(work)


def lock_or_exit(*, wait: bool = False) -> None:
    """Hold the lock of this project's work directory, or end the process with the reason: for where doit would not."""
    try:
        hold_lock(load_settings().work, wait=wait)
    except OtabuildError as error:
        print(render(error), file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def limit_cache(workspace: Workspace) -> None:
    """Keep the work directory within its size; what was used in this run stays."""
    keep_within(workspace, load_settings().limit, spare=workspace.now_ns)


def handle_signals() -> None:
    """Let SIGTERM and SIGHUP end the process as an exception does, so that nothing half-written stays."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def render(error: OtabuildError) -> str:
    """An error as the shell shows it."""
    return f"error: {error}"
