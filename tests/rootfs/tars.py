"""Tar archives written by hand, field by field, so that a test can make any error."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes, kind: bytes = b"0", *, size: bytes | int = 0, link: bytes = b"", mode: int = 0o644, **fields: bytes
) -> bytes:
    """One header block; `fields` are raw: uid, gid, major, minor, prefix, magic, rest (from byte 345 on)."""
    block = bytearray(BLOCK)

    def put(at: int, data: bytes, width: int) -> None:
        assert len(data) <= width
        block[at : at + len(data)] = data

    put(0, name, 100)
    put(100, octal(mode, 8), 8)
    put(108, fields.get("uid", octal(0, 8)), 8)
    put(116, fields.get("gid", octal(0, 8)), 8)
    put(124, size if isinstance(size, bytes) else octal(size, 12), 12)
    put(136, octal(0, 12), 12)
    put(156, kind, 1)
    put(157, link, 100)
    put(257, fields.get("magic", b"ustar\x0000"), 8)
    put(329, fields.get("major", octal(0, 8)), 8)
    put(337, fields.get("minor", octal(0, 8)), 8)
    put(345, fields.get("prefix", b""), 155)
    put(386, fields.get("rest", b""), 126)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", *, link: bytes = b"", **fields: bytes) -> bytes:
    """Return a header and the body after it."""
    return header(name, kind, size=len(data), link=link, mode=0o644, **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record."""
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A pax header with these records."""
    return member(b"pax", b"".join(record(*pair) for pair in pairs), kind)
