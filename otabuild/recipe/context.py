"""The information that a recipe may request from outside its file: environment, git, time."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from otabuild.errors import InputError

_GIT = {
    "describe": ("describe", "--tags", "--always", "--dirty"),
    "commit": ("rev-parse", "--verify", "HEAD"),
    "branch": ("symbolic-ref", "--short", "HEAD"),
    "time": ("log", "-1", "--format=%ct", "HEAD"),
}


@dataclass(frozen=True)
class Context:
    """The outside world as a recipe sees it. Loading reads neither environment nor clock by itself.

    `git` answers `describe`, `commit`, `branch` or `time` (HEAD's committer time in Unix seconds)
    and raises InputError if it cannot. `now` is in Unix seconds.
    """

    env: Mapping[str, str]
    git: Callable[[str], str]
    now: int

    @classmethod
    def from_process(cls, folder: str) -> Context:
        """Return environment and clock of this process, and the git repository around `folder`."""
        return cls(
            env=os.environ,
            git=functools.cache(functools.partial(ask_git, folder)),
            now=int(time.time()),
        )


def ask_git(folder: str, what: str) -> str:
    """Ask git about the repository that has a folder: `describe`, `commit`, `branch` or `time`.

    Raises:
        InputError: git is not installed, the folder is not in a repository, or git failed.
    """
    command = ["git", "-C", folder, *_GIT[what]]
    try:
        done = subprocess.run(  # noqa: S603 -- constants and a folder of the caller's
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",  # names are, whatever the locale
            errors="surrogateescape",
            env={**os.environ, "LC_ALL": "C"},  # what git says is searched for words below
            check=False,
        )
    except OSError as error:
        raise InputError(
            "cannot run git", where=folder, observed=error.strerror, hint=_hint(what)
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise InputError(
            f"`git {' '.join(_GIT[what])}` failed",
            observed=said,
            hint=_hint_after(said, folder, what),
        )
    return done.stdout.strip()


def _hint_after(said: str, folder: str, what: str) -> str:
    """Return what to do about something that git said."""
    if "dubious ownership" in said:  # git's own advice stands in lines that are not shown
        place = shlex.quote(os.path.abspath(folder))
        return (
            "another user owns the checkout; `git config --global "
            f"--add safe.directory {place}` trusts it"
        )
    if what != "describe" and any(
        word in said for word in ("any commits", "ambiguous argument", "Needed a single")
    ):
        return f"the repository has no commit yet: commit first, or {_hint(what)}"
    return _hint(what)


def _hint(what: str) -> str:
    if what == "time":
        return "set SOURCE_DATE_EPOCH, or write `timestamp: now` or an ISO 8601 time"
    return (
        "build inside a git checkout, or take it from the environment: "
        f"${{env:RELEASE_{what.upper()}}}"
    )
