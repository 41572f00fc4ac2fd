"""Access control lists that an archive holds as text, as `tar --acls` and bsdtar write them.

Linux stores a list as bytes with numeric ids. GNU tar's text has names of the machine that packed;
only numbers mean the same everywhere.
"""

from __future__ import annotations

import re
import struct

UNCONVERTED = " (as text)"
"""Ends the name of an attribute that stands for a list of names: patterns that drop lists match it,
the gate refuses."""
_NOBODY = 0xFFFFFFFF
_TAGS = {
    ("user", False): 1,
    ("user", True): 2,
    ("group", False): 4,
    ("group", True): 8,
    ("mask", False): 16,
    ("other", False): 32,
}
_NUMBER = re.compile("0*[0-9]{1,10}")
_BITS = {"r": 4, "w": 2, "x": 1}


def attribute(name: str, text: bytes) -> tuple[str, bytes]:
    """Return the attribute for a list: its name, and its bytes, or its text if it names users."""
    packed = _packed(text.decode("utf-8", "replace"))
    return (f"{name}{UNCONVERTED}", text) if packed is None else (name, packed)


def is_trivial(value: bytes) -> bool:
    """Whether a list says no more than the mode of the file: Linux keeps no such list."""
    return len(value) == 4 + 3 * 8


def _packed(text: str) -> bytes | None:
    """Return the bytes that Linux stores for a list, or None if its text does not tell."""
    entries = []
    for line in text.replace(",", "\n").splitlines():
        fields = line.partition("#")[0].strip().removeprefix("default:").split(":")
        entry = _entry(fields) if fields != [""] else ()
        if entry is None:
            return None
        if entry:
            entries.append(entry)
    kinds = {tag for tag, _, _ in entries}
    whom = {(tag, number) for tag, _, number in entries}
    if not kinds >= {1, 4, 32} or (kinds & {2, 8} and 16 not in kinds) or len(entries) != len(whom):
        return None
    ordered = sorted(entries, key=lambda entry: (entry[0], entry[2]))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ordered)


def _entry(fields: list[str]) -> tuple[int, int, int] | None:
    """Return (tag, permissions, id) of `kind:name:rwx` or `kind:name:rwx:id`, or None.

    It is None if the id is not a number.
    """
    kind, name, permissions, *more = [*fields, "", "", ""][: max(3, len(fields))]
    if kind in ("mask", "other") and len(fields) == 2:  # the short form, without an empty name
        name, permissions = "", name
    qualifier = more[0] if more else name
    tag = _TAGS.get((kind, bool(name)))
    if (
        tag is None
        or len(more) > 1
        or (name and not _NUMBER.fullmatch(qualifier))
        or set(permissions) - {*"rwx-"}
    ):
        return None
    bits = sum(_BITS[letter] for letter in set(permissions) - {"-"})
    number = int(qualifier) if name else _NOBODY
    return None if name and number >= _NOBODY else (tag, bits, number)
