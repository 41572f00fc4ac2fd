"""The context in which the tests load recipes."""

from __future__ import annotations

import os

from otabuild.errors import InputError
from otabuild.recipe.context import Context

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = 1_770_000_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(what: str) -> str:
    """A repository with one tagged commit of 2026-01-02T03:04:05Z."""
    return {"describe": "v1.2", "commit": COMMIT, "branch": "main", "time": "1767323045"}[what]


def no_git(_what: str) -> str:
    raise InputError("git failed", observed="fatal: not a git repository", hint="(what to set)")


IN_GIT = Context(env={}, git=git, now=NOW)
OUTSIDE_GIT = Context(env={}, git=no_git, now=NOW)
