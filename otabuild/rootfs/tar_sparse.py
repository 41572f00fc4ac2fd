"""Sparse files in tar archives: the old GNU header, and GNU's pax formats 0.0, 0.1 and 1.0."""

from __future__ import annotations

from typing import NamedTuple

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.tar_fields import decimal, number

_BLOCK = 512
_EXTENTS_MAX = 1_000_000


class Sparse(NamedTuple):
    """A sparse file: its size, where its data are, how many bytes are stored, its real name."""

    size: int
    extents: list[tuple[int, int]]
    stored: int
    name: bytes


def find(
    reader: Reader, block: bytes, flag: bytes, pairs: list[tuple[bytes, bytes]], stored: int
) -> Sparse | None:
    """Return the sparse file that a member describes, if any; a map in front of the data is read.

    Args:
        reader: positioned after the header block.
        block: the header block.
        flag: its type flag.
        pairs: the pax records that apply to the member, in order.
        stored: size of the body in bytes.

    Raises:
        InputError: the map is damaged or contradicts the sizes.
    """
    records = dict(pairs)
    before = reader.position
    if flag == b"S":
        numbers, size = _old_map(reader, block), number(block[483:495], reader.where)
        before = reader.position
    elif records.get(b"GNU.sparse.major") == b"1":
        size = decimal(records.get(b"GNU.sparse.realsize", b""), reader.where)
        numbers = _map_in_front(reader, stored)
    elif b"GNU.sparse.map" in records:
        size = decimal(records.get(b"GNU.sparse.size", b""), reader.where)
        numbers = [decimal(part, reader.where) for part in records[b"GNU.sparse.map"].split(b",")]
    elif b"GNU.sparse.size" in records:
        size = decimal(records[b"GNU.sparse.size"], reader.where)
        fields = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [decimal(value, reader.where) for key, value in pairs if key in fields]
    else:
        return None
    # A map in front of the data is a part of the body; that of an old header comes before it.
    left = stored - (reader.position - before)
    return Sparse(
        size,
        _extents(numbers, size, left, reader.where),
        left,
        records.get(b"GNU.sparse.name", b""),
    )


def _extents(numbers: list[int], size: int, stored: int, where: str) -> list[tuple[int, int]]:
    extents = [
        (at, length) for at, length in zip(numbers[::2], numbers[1::2], strict=False) if length
    ]
    ends = [0, *(at + length for at, length in extents)]
    ordered = all(at >= end for (at, _), end in zip(extents, ends, strict=False))
    if len(numbers) % 2 or not ordered or max(ends) > size or size > limits.FILE:
        raise InputError("the map of a sparse file is damaged", where=where)
    if sum(length for _, length in extents) != stored:
        raise InputError("the map of a sparse file contradicts its size", where=where)
    return extents


def _old_map(reader: Reader, block: bytes) -> list[int]:
    """Read four pairs from the header, and 21 from each block that a flag announces."""
    numbers = _pairs(block[386:482], reader.where)
    more = block[482:483]
    while more == b"\1":
        block = reader.read(_BLOCK)
        numbers += _pairs(block[:504], reader.where)
        more = block[504:505]
        if len(numbers) > 2 * _EXTENTS_MAX:
            raise InputError("the map of a sparse file is too long", where=reader.where)
    return numbers


def _pairs(area: bytes, where: str) -> list[int]:
    return [
        number(area[at : at + 12], where)
        for at in range(0, len(area), 12)
        if area[at : at + 1] != b"\0"
    ]


def _map_in_front(reader: Reader, stored: int) -> list[int]:
    """Read decimal numbers, a line each, in as many blocks as needed; first their count."""
    start, text = reader.position, b""

    def line() -> int:
        nonlocal text
        while b"\n" not in text:
            if reader.position - start + _BLOCK > stored or len(text) > _BLOCK:
                raise InputError("the map of a sparse file is damaged", where=reader.where)
            text += reader.read(_BLOCK)
        digits, _, text = text.partition(b"\n")
        return decimal(digits, reader.where)

    count = line()
    if count > _EXTENTS_MAX:
        raise InputError("the map of a sparse file is too long", where=reader.where)
    return [line() for _ in range(2 * count)]
