"""What is a URL, and what is a path of this machine."""

from __future__ import annotations

import re

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(place: str) -> bool:
    """Return whether a place is a URL, and not a path of this machine."""
    return _URL.match(place) is not None
