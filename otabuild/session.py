"""The surroundings of the shell: settings, clock, environment, the lock, signals."""

from __future__ import annotations

import errno
import getpass
import io
import os
import re
import secrets
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from types import FrameType
from typing import NoReturn

from otabuild import progress
from otabuild.ci import annotated
from otabuild.colours import painted
from otabuild.errors import InputError, OtabuildError, StateError, StorageError
from otabuild.format.sizes import parse_size
from otabuild.format.times import utc
from otabuild.pipeline.workspace import CACHE_LIMIT, WORK, Workspace
from otabuild.progress import show_progress, tell
from otabuild.storage import fs
from otabuild.storage.lock import WorkLock
from otabuild.storage.seal import CACHE_KEY, user_key

FAILURES = (OtabuildError, OSError, MemoryError, RuntimeError)
"""The kinds of errors that `known` may recognise."""

_LOCKED = "OTABUILD_LOCKED"
WAIT = "OTABUILD_WAIT"
"""Environment variable that says to wait for others: for a build in the same folder, or a pruner of
the store."""
_LOOK_AGAIN = 2
"""Seconds between two looks whether somebody still prunes."""
_held: dict[str, WorkLock] = {}
_users: Counter[str] = Counter()


@dataclass(frozen=True)
class Settings:
    """`[tool.otabuild]` of the pyproject.toml; paths are relative to the current folder."""

    recipes: str = "recipes"
    work: str = WORK
    cache_limit: int = CACHE_LIMIT
    root: str = os.curdir


def project_root() -> str:
    """Return the folder of the project that the current folder is in, relative to it.

    It is the nearest one with a dodo.py or pyproject.toml about otabuild, or a work directory. The
    search ends with the git repository and where folders belong to somebody else; if it finds none,
    it is the current folder.
    """
    folder = os.getcwd()
    owner = os.stat(folder).st_uid
    while not _is_root(folder):
        above = os.path.dirname(folder)
        if (
            above == folder
            or os.path.lexists(os.path.join(folder, ".git"))
            or os.stat(above).st_uid != owner
        ):
            return os.curdir
        folder = above
    return os.path.relpath(folder)


def _is_root(folder: str) -> bool:
    for name, word in (("dodo.py", b"otabuild"), ("pyproject.toml", b"tool.otabuild")):
        with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            if word in file.read():
                return True
    return os.path.isdir(os.path.join(folder, WORK))


def load_settings() -> Settings:
    """Return the settings of the project around the current folder, or the defaults.

    Raises:
        InputError: pyproject.toml cannot be read, or has unknown settings.
    """
    root = project_root()
    path = os.path.normpath(os.path.join(root, "pyproject.toml"))
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file).get("tool", {}).get("otabuild", {})
    except FileNotFoundError:
        table = {}
    # Tomllib has no limit on nesting but the interpreter's.
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("cannot read the settings", where=path, observed=error) from None
    known = {"recipes", "work", "cache-size"}
    wrong = sorted(
        key for key, value in table.items() if key not in known or not isinstance(value, str)
    )
    if wrong:
        raise InputError(
            "settings that are unknown or not strings",
            where=f"{path} [tool.otabuild]",
            observed=", ".join(wrong),
            expected=", ".join(sorted(known)),
        )
    recipes, work = (
        os.path.normpath(os.path.join(root, table.get(name, default)))
        for name, default in (("recipes", Settings.recipes), ("work", WORK))
    )
    size = table.get("cache-size")
    try:
        return Settings(recipes, work, CACHE_LIMIT if size is None else parse_size(size), root)
    except InputError as error:
        where = f"{path} [tool.otabuild] cache-size"
        raise InputError(
            error.what, where=where, observed=error.observed, expected=error.expected
        ) from None


def make_workspace(settings: Settings | None = None) -> Workspace:
    """Make the workspace of this process in the current folder.

    The default settings are those of the folder.

    Raises:
        InputError: as for `load_settings`, or OTABUILD_JOBS is not a number.
    """
    settings = settings or load_settings()
    return Workspace(
        now_ns=time.time_ns(),
        work=settings.work,
        workers=_workers(),
        environ=os.environ,
        prompt=_ask,
        warn=cache(_warn),  # tell each once, not in every step
        progress=show_progress,
        pause=_pause,
        cache_limit=settings.cache_limit,
        cache_key=_cache_key,
    )


def _warn(message: str) -> None:
    with progress.above():
        print(painted(f"warning: {message}", sys.stderr), file=sys.stderr)


def _cache_key() -> bytes:
    """Return this user's key of the cache.

    Where none can be kept, it is one for this run and its worker processes.
    """
    try:
        return user_key(os.environ)
    except (StateError, StorageError) as error:
        _warn(f"{error}\n  nothing but blobs is reused from other runs; {CACHE_KEY} helps")
        os.environ[CACHE_KEY] = secrets.token_hex(32)
        return user_key(os.environ)


def _workers() -> int:
    text = os.environ.get("OTABUILD_JOBS", "")
    if not text:
        return os.cpu_count() or 1
    if not re.fullmatch("0*[1-9][0-9]{0,3}", text):
        raise InputError(
            "not a number of threads",
            where="OTABUILD_JOBS",
            observed=text[:40],
            expected="1 to 9999",
        )
    return int(text)


def _ask(what: str) -> bytes:
    hint = "use `passphrase: {env: NAME}`"
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(
            "there is no terminal to ask for the passphrase", where="standard input", hint=hint
        )
    progress.clear()
    try:
        return getpass.getpass(what).encode()
    except EOFError:
        raise InputError("no passphrase was given", where="standard input", hint=hint) from None
    except UnicodeError:
        raise InputError(
            "the passphrase is not valid text in the encoding of this terminal",
            where="standard input",
            hint=hint,
        ) from None


def hold_lock(work: str, *, wait: bool = False) -> None:
    """Hold the lock of a work directory until this process ends; worker processes inherit it.

    Raises:
        StateError: another run holds it, and neither `wait` nor OTABUILD_WAIT says to wait.
    """
    path = os.path.abspath(work)
    announced = os.environ.get(_LOCKED, "").splitlines()
    if path not in _held and path not in announced:
        lock = WorkLock(work)
        waiting = partial(_tell_waiting, work) if wait or os.environ.get(WAIT) else None
        lock.acquire(started=utc(int(time.time())), waiting=waiting)
        _held[path] = lock
        os.environ[_LOCKED] = "\n".join([*announced, path])
    _users[path] += 1


def wait_for_pruner(who: str) -> None:
    """Say who prunes a store, and wait a moment before the next look."""
    tell(f"waiting: somebody is pruning the store ({who})")
    time.sleep(_LOOK_AGAIN)


def _pause(who: str) -> bool:
    if os.environ.get(WAIT):
        wait_for_pruner(who)
    return bool(os.environ.get(WAIT))


def _tell_waiting(work: str, holder: str) -> None:
    tell(f"{work}: waiting for another build ({holder})")
    show_progress("waiting for the other build", 0, 0)


@contextmanager
def locked(work: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a work directory, unless the process does; errors as for `hold_lock`."""
    path = os.path.abspath(work)
    hold_lock(work, wait=wait)
    try:
        yield
    finally:
        # Uses of the lock may be nested, and `hold_lock` alone is never undone.
        _users[path] -= 1
        if path in _held and not _users[path]:
            _held.pop(path).release()
            announced = os.environ[_LOCKED].splitlines()
            os.environ[_LOCKED] = "\n".join(other for other in announced if other != path)


def lock_or_exit() -> None:
    """Hold the lock of this project's work directory, or show the reason and exit.

    doit would do neither.
    """
    with exit_on_error():
        hold_lock(load_settings().work)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Show a known error and exit, in code where doit would show a traceback."""
    try:
        yield
    except OtabuildError as error:
        progress.clear()
        print(painted(annotated(render(error)), sys.stderr), file=sys.stderr)
        raise SystemExit(1) from None


def speak_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, unless file names are UTF-8 already.

    Names of files are bytes, and those of an image are UTF-8. Python would decode names, arguments
    and output by the locale, so under a locale of another encoding the same tree would give another
    image.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  # ourselves


def open_streams() -> None:
    """Connect closed standard streams to nothing.

    Otherwise, the next opened file would take their place.

    What a stream's encoding does not have is escaped: a name that a terminal cannot show is no
    reason to stop. Each line is written at once, also to a pipe, because a log of both streams must
    have them in their order.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def end_output() -> None:
    """Flush the output; if that fails, keep Python from reporting it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def known(error: Exception) -> OtabuildError | None:
    """Return an exception as an error to show; None for a bug in otabuild."""
    if isinstance(error, OtabuildError):
        return error
    if isinstance(error, OSError):
        # Everything but our output has a name.
        if error.errno == errno.ENOSPC and not error.filename:
            return StorageError("cannot write", where="standard output", observed=error.strerror)
        hint = "`otabuild --debug` shows where"
        return StorageError(
            "the operating system failed",
            where=error.filename or "",
            observed=error.strerror or error,
            hint=hint,
        )
    if isinstance(error, MemoryError):
        return StorageError("not enough memory", hint="set OTABUILD_JOBS to a smaller number")
    if str(error) == "can't start new thread":  # Python has no class of its own for it
        return StorageError(
            "cannot start a thread",
            expected="room for more processes (ulimit -u)",
            hint="set OTABUILD_JOBS to a smaller number",
        )
    return None


def keep_own_access() -> None:
    """Let the umask take nothing from the user who runs this; what it takes from others stays."""
    os.umask(os.umask(0o077) & 0o077)


def handle_signals() -> None:
    """Let signals end the process like an exception, so that no partial files remain.

    Ignored signals stay ignored.
    """
    fs.interrupted = None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIG_IGN is set by nohup, for example
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    fs.interrupted = (
        KeyboardInterrupt if number == signal.SIGINT else partial(SystemExit, 128 + number)
    )
    raise fs.interrupted()


def render(error: OtabuildError) -> str:
    """Return an error in the form that the shell shows."""
    return f"error: {error}"
