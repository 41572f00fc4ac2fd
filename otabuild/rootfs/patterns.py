"""Exclude patterns of a recipe.

A leading `/` anchors a pattern at the root; otherwise it matches at any depth. `?` is one character
and `*` any number of characters within a name, `[ab]`, `[a-c]` and `[!a]` one of, or but, those
characters (`[[]` is a bracket itself); `**` alone between slashes is any number of names. A match
includes everything below it. Patterns match paths as text: they never follow a symlink. Matching
takes time linear in the path for every pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import cache

from otabuild.errors import InputError
from otabuild.format import limits

_ANY_CHILD = "/" + "\0" * (limits.NAME + 1)
"""Longer than any name, and made of a character that no name has: only patterns that match every
name match it."""
_CLASS = re.compile(r"\[!?\]?[^\]]*\]")
_TOKEN = re.compile(f"{_CLASS.pattern}|.", re.DOTALL)


class Patterns:
    """A list of exclude patterns that remembers which of them matched.

    Raises:
        InputError: a pattern is invalid; the message names it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._open = {pattern: translated(pattern) for pattern in patterns}
        # One expression for all: of thousands of patterns, most paths match none.
        self._any = re.compile(
            "|".join(f"(?:{expression})" for expression in self._open.values()) or r"(?!)"
        )

    def match(self, path: str) -> bool:
        """Whether a path, or a folder above it, matches one of the patterns."""
        if self._any.match(path) is None:
            return False
        self._open = {
            pattern: one
            for pattern, one in self._open.items()
            if _compiled(one).match(path) is None
        }
        return True

    def match_below(self, path: str) -> bool:
        """Whether everything below a folder matches, whatever the names are."""
        return self.match((path if path != "/" else "") + _ANY_CHILD)

    @property
    def unmatched(self) -> list[str]:
        """Return the patterns that have not matched anything so far."""
        return list(self._open)


_compiled = cache(re.compile)


def translated(pattern: str) -> str:
    """Return an expression that matches a path from its start, atomic against backtracking.

    Raises:
        InputError: the pattern is invalid; the message names it.
    """
    # `**` splits the pattern into runs with a fixed number of names, so the leftmost match of a run
    # is the best one.
    names = pattern.strip("/").split("/")
    if problem := _problem(pattern, names):
        hint = "see the rules for exclude patterns"
        if pattern.startswith("!"):
            hint = "a pattern can only exclude; leave it out, and name what to exclude"
        raise InputError(f"the exclude pattern {problem}", where=pattern, hint=hint)
    if not pattern.startswith("/"):
        names.insert(0, "**")
    runs = "/".join(names).split("**")
    parts = [_run(run) for run in runs]
    if not parts[-1]:
        parts[-1] = "/[^/]"
    return parts[0] + "".join(f"(?>(?:/[^/]+)*?{part})" for part in parts[1:])


def _problem(pattern: str, names: list[str]) -> str:
    """Return what is wrong with a pattern of these names, or an empty text."""
    if names == [""]:
        return "is empty"
    if pattern.startswith("!"):
        return "begins with `!`, which is not supported"
    if not {"", ".", ".."}.isdisjoint(names):
        return "has an empty name, `.` or `..` in it"
    if any("**" in name and name != "**" for name in names):
        return "has `**` together with other characters in one name"
    return _bracket_problem(names)


def _bracket_problem(names: list[str]) -> str:
    if any("[" in _CLASS.sub("", name) for name in names):
        return "has a `[` without its `]`; a bracket itself is `[[]`"
    if any(
        re.search(r"\[[:.=]", found[0][1:]) for name in names for found in _CLASS.finditer(name)
    ):
        return (
            "has a class with a name, such as `[[:alpha:]]`, which is not "
            "supported; list the characters"
        )
    return ""


def _run(run: str) -> str:
    return "".join(f"/(?>{_name(name)}(?=/|\\Z))" for name in run.split("/") if name)


def _name(name: str) -> str:
    first, *rest = ("".join(map(_one, tokens)) for tokens in _parts(name))
    if not rest:
        return first
    return first + "".join(f"(?>[^/]*?{part})" for part in rest[:-1]) + f"[^/]*{rest[-1]}"


def _parts(name: str) -> list[list[str]]:
    """Split a name at its stars into lists of single characters and classes."""
    parts: list[list[str]] = [[]]
    for found in _TOKEN.finditer(name):
        if found[0] == "*":
            parts.append([])
        else:
            parts[-1].append(found[0])
    return parts


def _one(sign: str) -> str:
    """Return the expression for one character; no class matches the name of every name."""
    if sign == "?":
        return "[^/]"
    if len(sign) == 1:
        return re.escape(sign)
    return f"(?![/\\0]){translate(sign).removeprefix('(?s:').rpartition(')')[0]}"
