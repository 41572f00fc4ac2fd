"""Convert sizes to and from human-readable text."""

from __future__ import annotations

import re

from otabuild.errors import InputError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SIZE = r"([0-9]{1,15}(\.[0-9]{1,3})?) ?(B|[KMGT]iB)?"
"""A regular expression for sizes, also used in the JSON Schema."""


def parse_size(text: str) -> int:
    """Return the number of bytes for a text such as `300MiB`, `1.5 GiB` or `4096`.

    Raises:
        InputError: the text is not a size.
    """
    found = re.fullmatch(SIZE, text)
    if found is None:
        raise InputError(
            "is not a size",
            observed=text[:50],
            expected="bytes, or a number with KiB, MiB, GiB or TiB",
        )
    return int(float(found[1]) * 1024 ** _UNITS.index(found[3] or "B"))


def human_size(size: int) -> str:
    """Return a size in bytes as human-readable text."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} {_UNITS[-1]}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and what it counts, such as `1 payload` or `10,238 blobs`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def human_change(before: int | None, after: int | None, arrow: str = "->") -> str:
    """Return a size before and after, and how much it grew."""
    if before is None or after is None:
        return f"{_or_unknown(before)} {arrow} {_or_unknown(after)}"
    if before == after:
        return f"{human_size(after)}, size unchanged"
    sign = "+" if after > before else ""
    return f"{human_size(before)} {arrow} {human_size(after)} ({sign}{human_size(after - before)})"


def _or_unknown(size: int | None) -> str:
    return "unknown" if size is None else human_size(size)
