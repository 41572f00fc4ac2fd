"""A ZIP writer that can lie: a test can set every field of every header."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Entry:
    """An entry of a ZIP; `local` and `central` override fields of one header."""

    name: str
    data: bytes
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""
    in_local: bool = True
    in_central: bool = True


def zip_bytes(entries: Sequence[Entry], **end: Any) -> bytes:
    """A ZIP of these entries; `end` overrides fields of the end record."""
    body, directory, count = b"", b"", 0
    for entry in entries:
        body += entry.before
        fields = header_fields(entry.name, entry.data, len(body))
        central = fields | entry.central
        if entry.in_local:
            body += local_header(fields | entry.local) + entry.data + entry.after
        if entry.in_central:
            directory += central_header(central)
            count += 1
    record: dict[str, Any] = {
        "disk": 0,
        "first": 0,
        "here": count,
        "count": count,
        "size": len(directory),
        "start": len(body),
        "comment": b"",
    }
    record |= end
    numbers = [record[key] for key in ("disk", "first", "here", "count", "size", "start")]
    tail = struct.pack("<4s4H2IH", b"PK\5\6", *numbers, len(record["comment"]))
    return b"".join((body, directory, tail, record["comment"]))


def header_fields(name: str, data: bytes, offset: int) -> dict[str, Any]:
    """Return the correct header fields of an entry."""
    return {
        "name": name.encode("utf-8", "surrogateescape"),
        "needed": 20,
        "flags": 0 if name.isascii() else 0x800,
        "method": 0,
        "time": 0,
        "date": 0x3A21,
        "crc": zlib.crc32(data),
        "stored": len(data),
        "size": len(data),
        "extra": b"",
        "made_by": 0x0314,
        "comment": b"",
        "disk": 0,
        "internal": 0,
        "external": 0o40755 << 16 | 0x10 if name.endswith("/") else 0o100644 << 16,
        "offset": offset,
    }


def local_header(f: dict[str, Any]) -> bytes:
    numbers = [f[key] for key in ("needed", "flags", "method", "time", "date", "crc", "stored", "size")]
    head = struct.pack("<4s5H3I2H", b"PK\3\4", *numbers, len(f["name"]), len(f["extra"]))
    return b"".join((head, f["name"], f["extra"]))


def central_header(f: dict[str, Any]) -> bytes:
    keys = ("made_by", "needed", "flags", "method", "time", "date", "crc", "stored", "size")
    lengths = [len(f[key]) for key in ("name", "extra", "comment")]
    tail = [f[key] for key in ("disk", "internal", "external", "offset")]
    head = struct.pack("<4s6H3I5H2I", b"PK\1\2", *(f[key] for key in keys), *lengths, *tail)
    return b"".join((head, f["name"], f["extra"], f["comment"]))
