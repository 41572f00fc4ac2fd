"""The order of versions."""

from __future__ import annotations

import re

from otabuild.packages.installed import PackageType

_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)


def version_key(version: str) -> tuple[object, ...]:
    """Return a sort key for versions as in dpkg and rpm.

    Epoch, then letters and numbers in turn; `~` sorts first.
    """
    epoch, colon, rest = version.partition(":")
    if not colon or not re.fullmatch("[0-9]+", epoch):
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return _number(epoch), _parts(upstream if dash else rest), _parts(revision if dash else "")


def _parts(text: str) -> list[tuple[list[int], tuple[int, str]]]:
    """Return alternating letters and numbers, then one empty pair: nothing and `0` are equal."""
    end = ([0], _number("0"))
    found = [
        ([*map(_rank, letters), 0], _number(digits)) for letters, digits in _PARTS.findall(text)
    ]
    while found and found[-1] == end:
        found.pop()
    return [*found, end]


def _number(digits: str) -> tuple[int, str]:
    """Return a sort key for a number of any length; Python converts no more than 4,300 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def _rank(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 0x110000


_EARLY: dict[PackageType, re.Pattern[str]] = {
    "apk": re.compile("_(?=alpha|beta|pre|rc)"),
    "alpm": re.compile("(?<=[0-9])(?=[a-z])"),
    "npm": re.compile("-"),
    "golang": re.compile("-"),
    "pypi": re.compile(r"[._-]?(?=(?:a|b|c|rc|alpha|beta|pre|preview|dev)[0-9])"),
}
"""Where the early versions of a kind of package begin: they come before the version to which they
lead."""


def order_key(type_: PackageType, version: str) -> tuple[object, ...]:
    """Return a sort key for the versions of a kind of package."""
    early = _EARLY.get(type_)
    return version_key(early.sub("~", version, count=1) if early else version)
