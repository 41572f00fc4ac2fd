"""Convert between text (ISO 8601, SOURCE_DATE_EPOCH) and Unix seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from otabuild.errors import InputError
from otabuild.format import limits

DAY = 86_400
"""Seconds of a day."""
EPOCH = "SOURCE_DATE_EPOCH"
"""The environment variable with the Unix seconds that builds use as the current time."""


def parse_time(text: str) -> int:
    """Return the Unix seconds of an ISO 8601 time or date. The default zone is UTC.

    Raises:
        InputError: the text is not a time, not in whole seconds, or not between 1970 and 9999.
    """
    try:
        moment = datetime.fromisoformat(text)
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        pass
    else:
        # Checking the year is not enough, because of the time zone.
        if not moment.microsecond and 0 <= seconds <= limits.TIME:
            return seconds
    raise InputError(
        "is not a valid time",
        observed=text,
        expected="ISO 8601 in whole seconds from 1970, such as 2026-11-23T08:00:00Z",
    )


def parse_epoch(text: str) -> int:
    """Return the Unix seconds that SOURCE_DATE_EPOCH contains.

    Raises:
        InputError: it is not a number of at most eleven digits.
    """
    if re.fullmatch("[0-9]{1,11}", text):
        return int(text)
    raise InputError(
        "is not a valid time",
        where=EPOCH,
        observed=text[:40],
        expected="whole seconds since 1970, such as 1767225600",
        hint=f"set it to $(date +%s) or to nothing at all (unset {EPOCH})",
    )


def utc(seconds: int) -> str:
    """Return Unix seconds as text, such as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_date(seconds: int) -> str:
    """Return the UTC date of a Unix time, such as `2026-11-23`."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
