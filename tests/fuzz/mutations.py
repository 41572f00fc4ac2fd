"""Changes of inputs that keep their outer form: a random change of a signed or packed input never gets past that."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from random import Random
from typing import Any

import msgpack

from tests.rootfs.tars import BLOCK

Mutate = Callable[[bytes, Random], bytes]

ODD_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"../",
    b"\n",
    b"\xed\xa0\x80",
)
ODD_TEXTS = (
    "", "\0", "\ud800", "\u202e", "..", "/", "a" * 5000, "9" * 5000, "-1", "0x10", "1e999", "²", "٣", "~", "null", "\n",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 2**64, 10**400, 0.5, 1e308)
ODD_YAML = (
    "~", "!!binary x", "!!python/none", "&a [*a]", "*b", "2026-99-99", "0o777", "1_000", ".inf", ".nan", "{a: b, a: c}",
    "[[[[]]]]", "? x", "|", "'", '"\\ud800"', "!!timestamp 1", "!!int x", "12:30:45", "<<: {a: b}", "9" * 300, "\ufeff",
)  # fmt: skip


def of_bytes(data: bytes, random: Random) -> bytes:
    """Change, remove, repeat or insert a few bytes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        length = random.choice((1, 1, 2, 4, 8, 32))
        match random.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case _:
                odd = random.choice(ODD_BYTES)
                changed[at : at + len(odd)] = odd
    return bytes(changed)


def of_text(data: bytes, random: Random) -> bytes:
    """Change words of a text, or its lines."""
    if random.random() < 0.3:
        return of_bytes(data, random)
    words = re.split(r"(\W)", data.decode("utf-8", "replace"))
    words[random.randrange(len(words))] = random.choice(ODD_TEXTS)
    return "".join(words).encode("utf-8", "surrogatepass")


def of_yaml(data: bytes, random: Random) -> bytes:
    """Edit YAML as a person would: a value, an indentation, a line twice or somewhere else."""
    if random.random() < 0.2:
        return of_bytes(data, random)
    lines = data.decode("utf-8", "replace").split("\n")
    at = random.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    match random.randrange(6):
        case 0 if colon:
            lines[at] = f"{key}: {random.choice(ODD_YAML + ODD_TEXTS)}"
        case 1:
            lines[at] = " " * random.randrange(1, 9) + lines[at].lstrip()
        case 2:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 3:
            del lines[at]
        case 4 if colon:
            lines[at] = f"{random.choice(ODD_YAML + ODD_TEXTS)}:{lines[at][len(key) + 1 :]}"
        case _:
            lines[at] = lines[at].replace("- ", random.choice(("- - ", "-", "? ", "- !!set ")), 1)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def of_value(value: Any, random: Random) -> Any:
    """Change one place of a value made of lists, dictionaries and scalars, and of bytes."""
    if random.random() < 0.9:
        match value:
            case dict() if value:
                return _of_dict(value, random)
            case list() if value:
                return _of_list(value, random)
            case str() if value and random.random() < 0.4:
                return of_text(value.encode("utf-8", "surrogatepass"), random).decode("utf-8", "replace")
            case bytes() if random.random() < 0.6:
                return of_bytes(value, random)
    odd: tuple[Any, ...] = (*ODD_NUMBERS, *ODD_TEXTS, None, True, [], {}, [[]], {"": None})
    return random.choice(odd)


def _of_dict(value: dict[Any, Any], random: Random) -> dict[Any, Any]:
    key = random.choice(list(value))
    if random.random() < 0.15:
        return {other: part for other, part in value.items() if other != key}
    return value | {random.choice((key, key, key, key, "")): of_value(value[key], random)}


def _of_list(value: list[Any], random: Random) -> list[Any]:
    at = random.randrange(len(value))
    if random.random() < 0.2:
        return random.choice((value[:at], value[at:], value + value))
    return [*value[:at], of_value(value[at], random), *value[at + 1 :]]


def of_json(data: bytes, random: Random) -> bytes:
    """Change a value of a JSON document, or its bytes."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return of_bytes(data, random)
    if random.random() < 0.2:
        return of_bytes(data, random)
    if random.random() < 0.02:
        depth = random.choice((40, 900, 5000))
        return data.replace(b"{", b'{"x":' + b"[" * depth + b"]" * depth + b",", 1)
    return json.dumps(of_value(value, random)).encode()


def of_msgpack(data: bytes, random: Random) -> bytes:
    """Change a value of a MessagePack document, or its bytes."""
    with suppress(ValueError, TypeError, OverflowError, msgpack.UnpackException, UnicodeError):
        if random.random() < 0.6:
            return bytes(msgpack.packb(of_value(msgpack.unpackb(data, strict_map_key=False), random)))
    return of_bytes(data, random)


def after(head: bytes, mutate: Mutate) -> Mutate:
    """Return a mutation that leaves the head of an input alone."""
    return lambda data, random: head + mutate(data.removeprefix(head), random)


def of_der(data: bytes, random: Random, depth: int = 12) -> bytes:
    """Change one element of DER and correct the lengths around it."""
    elements = _elements(data) if depth else None
    if not elements or random.random() < 0.04:
        return of_bytes(data, random)
    at = random.randrange(len(elements))
    tag, body = elements[at]
    match random.randrange(20):
        case 0:
            tag = random.randrange(256)
        case 1:
            elements.insert(at, elements[random.randrange(len(elements))])
        case 2:
            del elements[at]
            return _joined(elements)
        case _ if tag & 0x20:
            body = of_der(body, random, depth - 1)
        case _ if tag == 4 and random.random() < 0.7:  # extensions are DER in an octet string
            body = of_der(body, random, depth - 1)
        case _:
            body = random.choice((of_bytes(body, random), *ODD_BYTES))
    elements[at] = (tag, body)
    return _joined(elements)


def _elements(data: bytes) -> list[tuple[int, bytes]] | None:
    found = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            return None
        tag, size = data[at], data[at + 1]
        at += 2
        if size > 0x80:
            width = size & 0x7F
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if at + size > len(data):
            return None
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _joined(elements: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([tag]) + _length(len(body)) + body for tag, body in elements)


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    raw = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(raw)]) + raw


def of_pem(data: bytes, random: Random) -> bytes:
    """Change the DER in one block of PEM, or the text."""
    blocks = list(re.finditer(rb"(-----BEGIN [^-]*-----)([^-]*)", data))
    if not blocks or random.random() < 0.2:
        return of_bytes(data, random)
    block = random.choice(blocks)
    try:
        der = of_der(base64.b64decode(block[2]), random)
    except binascii.Error:
        return of_bytes(data, random)
    return data[: block.start(2)] + b"\n" + base64.encodebytes(der) + data[block.end(2) :]


def of_token(data: bytes, random: Random) -> bytes:
    """Change one part of a token, in its JSON, in a certificate of its header, or in its text."""
    parts = data.split(b".")
    at = random.randrange(len(parts))
    if random.random() < 0.2:
        return of_bytes(data, random)
    try:
        raw = base64.urlsafe_b64decode(parts[at] + b"==")
        if random.random() < 0.5 and b'"x5c"' in raw:
            header = json.loads(raw)
            number = random.randrange(len(header["x5c"]))
            der = of_der(base64.b64decode(header["x5c"][number]), random)
            header["x5c"][number] = base64.b64encode(der).decode()
            raw = json.dumps(header).encode()
        else:
            raw = of_json(raw, random)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        raw = random.choice(ODD_BYTES)
    text = base64.urlsafe_b64encode(raw)
    parts[at] = text if b"=" in parts[at] else text.rstrip(b"=")
    return b".".join(parts)


def of_tar(data: bytes, random: Random) -> bytes:
    """Change a field of a header, and correct its checksum; or a body."""
    heads = [at for at in range(0, len(data) - BLOCK + 1, BLOCK) if data[at + 257 : at + 262] == b"ustar"]
    if not heads or random.random() < 0.3:
        return of_bytes(data, random)
    at = random.choice(heads)
    block = bytearray(data[at : at + BLOCK])
    start, width = random.choice(
        ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (329, 8), (345, 155))
    )
    odd = (
        *ODD_BYTES,
        b"77777777777",
        b"\x80" + bytes(10) + b"\x01",
        b"a" * 255,
        b"x",
        b"g",
        b"S",
        b"L",
        b"K",
        b"1",
        b"2",
    )
    value = random.choice((of_bytes(bytes(block[start : start + width]), random), *odd))[:width]
    block[start : start + width] = value.ljust(width, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + BLOCK :]


def of_database(data: bytes, random: Random) -> bytes:
    """Change a value of an SQLite database through SQLite, or any bytes of its pages."""
    if random.random() < 0.3:
        return of_bytes(data, random)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.deserialize(data)
            table, column = _place(connection, random)
            values = (*ODD_BYTES, *ODD_TEXTS[3:], *(n for n in ODD_NUMBERS if -(2**63) <= n < 2**63), None)
            value = random.choice(values)
            old = connection.execute(f'SELECT "{column}" FROM "{table}" ORDER BY random() LIMIT 1').fetchone()
            if isinstance(old[0], bytes) and random.random() < 0.7:
                value = (
                    old[0][:2] + of_msgpack(old[0][2:], random) if old[0][1:2] == b":" else of_msgpack(old[0], random)
                )
            connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" IS ?', (value, old[0]))
            return connection.serialize()
        except (sqlite3.Error, UnicodeError, TypeError, IndexError):
            return of_bytes(data, random)


def _place(connection: sqlite3.Connection, random: Random) -> tuple[str, str]:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    table = random.choice(tables)
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    return table, random.choice(columns)
