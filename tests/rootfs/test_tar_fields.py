"""Fields of tar headers: each form of a number, and records that end where they say."""

from __future__ import annotations

import pytest

from otabuild.errors import InputError
from otabuild.rootfs.tar_fields import decimal, number, pax_records, text
from tests.rootfs.tars import record


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"", 0),
        (b"\0" * 8, 0),
        (b"0000644\0", 0o644),
        (b" 644 \0\0", 0o644),
        (b"77777777", 0o77777777),
        (b"\x80\0\0\0\0\0\1\2", 258),
        (b"\x80" + b"\xff" * 7, 2**56 - 1),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field, "a") == value


@pytest.mark.parametrize("field", [b"8", b"0000x44\0", b"\xff" * 8, b"\x81\0\0\0", b"1 2", b"-1", b"0x1"])
def test_what_is_no_number(field: bytes) -> None:
    with pytest.raises(InputError, match="a field of a header is not a number"):
        number(field, "a")


def test_decimal_numbers() -> None:
    assert decimal(b"0", "a") == 0
    assert decimal(b"9" * 20, "a") == 10**20 - 1
    for digits in (b"", b"-1", b"+1", b" 1", b"1.5", b"9" * 21, b"\xb2", b"x" * 200):
        with pytest.raises(InputError, match="a record is not a number"):
            decimal(digits, "a")


PAIRS = [(b"path", b"a"), (b"path", b"b=c\n d"), (b"x" * 90, b""), (b"y", b"z" * 2000)]


def test_records_come_in_order() -> None:
    assert pax_records(b"".join(record(*pair) for pair in PAIRS), "a") == PAIRS
    assert pax_records(b"", "a") == []


@pytest.mark.parametrize(
    "body",
    [b"x", b"6 a=1", b"7 a=1\n", b"5 a=1\n", b"6 a=1\0", b"5 a1\n", b"5 =1\n", b"6a=1\n ", b" 6 a=1\n", b"0 a=1\n"],
)
def test_records_that_do_not_end_where_they_say(body: bytes) -> None:
    for before in (b"", record(b"path", b"a")):
        with pytest.raises(InputError, match=r"is malformed|is not a number"):
            pax_records(before + body, "a")


def test_names_that_are_no_text_keep_their_bytes() -> None:
    assert text(b"a\xff\xc3\xa9") == "a\udcffé"
