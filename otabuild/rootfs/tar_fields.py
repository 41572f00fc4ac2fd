"""Fields of tar headers: numbers, pax records, names."""

from __future__ import annotations

from otabuild.errors import InputError

_DIGITS = 20


def number(field: bytes, where: str) -> int:
    """Parse a number of a header: octal digits, or base 256 if the first bit is set.

    Raises:
        InputError: neither, or negative.
    """
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if digits.strip(b"01234567"):
        raise InputError(
            "the archive is damaged: a field of a header is not a number",
            where=where,
            observed=field,
        )
    return int(digits, 8) if digits else 0


def decimal(digits: bytes, where: str) -> int:
    """Parse a number of a pax record.

    Raises:
        InputError: not only digits, or too many.
    """
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise InputError(
            "the archive is damaged: a record is not a number", where=where, observed=digits[:100]
        )
    return int(digits)


def pax_records(body: bytes, where: str) -> list[tuple[bytes, bytes]]:
    """Return the records of a pax header, in order; a key may occur several times.

    Raises:
        InputError: the header is not a sequence of `length key=value` records.
    """
    records = []
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + _DIGITS)
        end = at + decimal(body[at:blank], where) if blank > at else 0
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if end > len(body) or not equals or not key or body[end - 1 : end] != b"\n":
            raise InputError("the archive is damaged: a pax record is malformed", where=where)
        records.append((key, value))
        at = end
    return records


def text(name: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 become surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")
