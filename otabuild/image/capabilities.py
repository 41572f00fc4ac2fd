"""File capabilities as text (section 6)."""

from __future__ import annotations

import struct

from otabuild.rootfs.rules import CAPABILITIES

_REVISION_1, _REVISION_2, _REVISION_3 = 0x01000000, 0x02000000, 0x03000000
_SIZES = {_REVISION_1: 12, _REVISION_2: 20, _REVISION_3: 24}


def format_capability(value: bytes) -> str:
    """Return text such as `cap_net_raw+ep` for the value of `security.capability`; hex if the value is invalid."""
    if len(value) < 4:
        return value.hex()
    (magic,) = struct.unpack_from("<I", value)
    if _SIZES.get(magic & 0xFF000000) != len(value):
        return value.hex()
    words = struct.unpack_from("<4I" if len(value) >= 20 else "<2I", value, 4)
    permitted = sum(word << 32 * i for i, word in enumerate(words[0::2]))
    inheritable = sum(word << 32 * i for i, word in enumerate(words[1::2]))
    by_flags: dict[str, list[str]] = {}
    for number in range(64):
        held = ("i" if inheritable >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if held:
            by_flags.setdefault(("e" if magic & 1 else "") + held, []).append(_name(number))
    return " ".join(f"{','.join(names)}+{flags}" for flags, names in by_flags.items()) or "none"


def _name(number: int) -> str:
    return f"cap_{CAPABILITIES[number]}" if number < len(CAPABILITIES) else f"cap_{number}"
