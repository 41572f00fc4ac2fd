"""Sizes as people write and read them."""

from __future__ import annotations

import re

from otabuild.errors import InputError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[KMGT]iB|B)?")


def parse_size(text: str) -> int:
    """Bytes of a text such as `300MiB`, `1.5 GiB` or `4096`.

    Raises:
        InputError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InputError("not a size", observed=text[:50], expected="bytes, or a number with B, KiB, MiB, GiB or TiB")
    return int(float(found["number"]) * 1024 ** _UNITS.index(found["unit"] or "B"))


def human_size(size: int) -> str:
    """A size in bytes as people read it."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} {_UNITS[-1]}"


def human_change(before: int | None, after: int | None) -> str:
    """A size before and after, and how much it grew."""
    if before is None or after is None:
        return " -> ".join("unknown" if size is None else human_size(size) for size in (before, after))
    if before == after:
        return f"{human_size(after)}, unchanged"
    sign = "+" if after > before else ""
    return f"{human_size(before)} -> {human_size(after)} ({sign}{human_size(after - before)})"
