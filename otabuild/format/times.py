"""Times as people write and read them: ISO 8601 on the one side, Unix seconds on the other."""

from __future__ import annotations

from datetime import UTC, datetime

from otabuild.errors import InputError

_LAST = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that can be written."""


def parse_time(text: str) -> int:
    """Unix seconds of an ISO 8601 time or date; in UTC, where it names no zone.

    Raises:
        InputError: it is no such time, not in whole seconds, or not from 1970 to 9999.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is not None and not moment.microsecond:
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        if 0 <= seconds <= _LAST:  # the year alone does not tell: there is still the time zone
            return seconds
    raise InputError(
        "is no time",
        observed=text,
        expected="ISO 8601 in whole seconds from 1970, such as 2026-11-23T08:00:00Z",
    )


def utc(seconds: int) -> str:
    """Unix seconds as people read them, such as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_date(seconds: int) -> str:
    """The UTC date of a Unix time, such as `2026-11-23`."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
