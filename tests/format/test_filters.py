"""Filters are packed and read in one way, and nothing else is taken for one (section 7)."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from otabuild.errors import FilterError, LimitError
from otabuild.format import limits
from otabuild.format.filters import Bundled, Compressed, Filter, Sliced, parse_filter


@pytest.mark.parametrize(
    ("found", "raw"),
    [
        (Bundled(1, 2, 3), b"b:\x93\x01\x02\x03"),
        (Compressed(7), b"c:\x92\x07\xa4zstd"),
        (Sliced((1, 1, 2)), b"s:\x93\x01\x01\x02"),
        (Sliced((0,)), b"s:\x91\x00"),
        (Bundled(2**63 - 1, 0, 0), b"b:\x93\xcf\x7f" + b"\xff" * 7 + b"\0\0"),
    ],
)
def test_a_filter_and_its_bytes(found: Filter, raw: bytes) -> None:
    assert found.pack() == raw
    assert parse_filter(raw, "here") == found


@pytest.mark.parametrize("raw", [b"", b"b", b":", b"x:\x91\x01", b"bb:\x93\1\2\3", b"B:\x93\1\2\3"])
def test_an_unknown_filter(raw: bytes) -> None:
    with pytest.raises(FilterError, match="unknown filter") as caught:
        parse_filter(raw + bytes(50), "here")
    error = caught.value
    assert (error.where, error.expected) == ("here", "b:, c: or s:")
    assert error.observed == str((raw + bytes(50))[:20])


def raw(code: str, options: Any) -> bytes:
    return f"{code}:".encode() + bytes(msgpack.packb(options))


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("b", [1, 2]),
        ("b", [1, 2, 3, 4]),
        ("b", [1, -1, 3]),
        ("b", [1, 2, 2**63]),
        ("b", [True, 2, 3]),
        ("b", [1, 2.0, 3]),
        ("c", [1, "gzip"]),
        ("c", [-1, "zstd"]),
        ("c", [1]),
        ("c", ["zstd", 1]),
        ("s", []),
        ("s", [1, "2"]),
    ],
)
def test_options_of_the_wrong_number_type_or_range(code: str, options: list[Any]) -> None:
    with pytest.raises(FilterError, match="filter options are wrong") as caught:
        parse_filter(raw(code, options), "here")
    assert caught.value.where == "here"
    assert caught.value.observed == f"{code}: {options!r}"
    assert caught.value.expected == (
        "b: [bundle id, offset, length], c: [resource id, 'zstd'] or s: [leaf id, ...], all from 0"
    )


@pytest.mark.parametrize("options", [5, {}, "x", None], ids=repr)
def test_options_that_are_no_list(options: Any) -> None:
    with pytest.raises(FilterError, match="filter options are not a list") as caught:
        parse_filter(raw("s", options), "here")
    assert (caught.value.where, caught.value.observed) == ("here", repr(options))


@pytest.mark.parametrize(
    "packed",
    [b"", b"\x91", b"\x91\1\1", b"\xc1", b"\x91\x81\1\1", b"\x91\x81\xa1k\1", b"\x91\xc4\1x", b"\x91\xd4\1x"],
    ids=bytes.hex,
)
def test_options_that_are_not_messagepack(packed: bytes) -> None:
    with pytest.raises(FilterError, match="filter options are not MessagePack") as caught:
        parse_filter(b"s:" + packed, "here")
    assert caught.value.where == "here"
    assert caught.value.observed != "None"


def test_as_many_slices_as_allowed_and_one_more() -> None:
    most = list(range(limits.SLICES))
    assert parse_filter(raw("s", most), "here") == Sliced(tuple(most))
    with pytest.raises(FilterError):
        parse_filter(raw("s", [*most, 1]), "here")


def test_as_many_bytes_as_allowed_and_one_more() -> None:
    with pytest.raises(FilterError):
        parse_filter(b"s:" + bytes(limits.FILTER_OPTIONS), "here")
    with pytest.raises(LimitError, match="filter options too large") as caught:
        parse_filter(b"s:" + bytes(limits.FILTER_OPTIONS + 1), "here")
    error = caught.value
    assert (error.where, error.observed, error.expected) == ("here", "1048577", "1048576")
