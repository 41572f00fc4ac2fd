"""What is a URL, and what is a path of this machine."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from otabuild.errors import InputError

# One without slashes is a slip.
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|(file|s3|gs|az|https?):", re.IGNORECASE)
_SCHEMES = frozenset({"file", "s3", "gs", "az", "http", "https"})


def is_url(place: str) -> bool:
    """Return whether a place is a URL, and not a path of this machine."""
    return _URL.match(place) is not None


def parse_url(url: str) -> SplitResult:
    """Return the parts of the URL of a store, or of what is in one.

    Raises:
        InputError: it is not one, or contains a user, a password or a query; the message repeats no
            secret.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or parts.username is not None
    except ValueError as error:
        raise InputError("not a URL", where=url, observed=error) from None
    # Without user, password and query: messages end up in logs.
    safe = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme and "://" not in url:
        raise InputError(
            "a URL without its slashes", where=f"{parts.scheme}:…", hint=f"write {parts.scheme}://…"
        )
    if secret:
        raise InputError(
            "a URL with a user or a password in it: it would be shown in logs and reports",
            where=safe,
            hint=(
                "put them into ~/.netrc, or into the variables of the "
                "store (AWS_…, GOOGLE_…, AZURE_…)"
            ),
        )
    if parts.query or parts.fragment:
        raise InputError("a URL with a query: a release has many files below one URL", where=safe)
    if parts.scheme not in _SCHEMES or (parts.scheme != "file" and not parts.hostname):
        expected = (
            "a path, file:///…, s3://bucket/…, gs://bucket/…, az://container/…, https://host/…"
        )
        raise InputError("not a store that otabuild knows", where=safe, expected=expected)
    return parts
