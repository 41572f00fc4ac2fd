"""Times as people write them."""

from __future__ import annotations

import pytest

from otabuild.errors import InputError
from otabuild.format.times import parse_epoch, parse_time, utc, utc_date


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("2026-11-23T08:00:00Z", 1_795_420_800),
        ("2026-11-23T08:00:00", 1_795_420_800),
        ("2026-11-23T10:00:00+02:00", 1_795_420_800),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds
    assert parse_time(utc(seconds)) == seconds
    assert utc(seconds).startswith(utc_date(seconds))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1767225600",
        "2026-02-30",
        "2026-11-23T08:00:00.5Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="is not a valid time"):
        parse_time(text)


@pytest.mark.parametrize("text", ["0", "1767225600", "99999999999", "00000000007"])
def test_seconds_of_the_environment(text: str) -> None:
    assert parse_epoch(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "999999999999", " 1", "1\n", "now", "٣", "x" * 50])
def test_what_are_no_seconds(text: str) -> None:
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH: is not a valid time"):
        parse_epoch(text)
