"""Colours of a few words on a terminal that has them: what is wrong, unchecked, or to be done."""

from __future__ import annotations

import os
import re
from typing import TextIO

_WORDS = re.compile(
    r"(?P<red>^error:|NOT [A-Z]{2,}|NOT reproducible|signature NOT checked)"
    r"|(?P<yellow>^warning:)"
    r"|(?P<cyan>^ *(hint|note|fix):)"
    r"|(?P<green>(?<=: )verified\b|(?<=: )reproducible\b|(?<=: the signature is )valid\b)",
    re.MULTILINE,
)
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}


def has_colours(stream: TextIO) -> bool:
    """Whether to write colours: as NO_COLOR and FORCE_COLOR say, else to a terminal not dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def painted(text: str, stream: TextIO) -> str:
    """Return text for a stream, with its words of weight in colour if the stream has colours."""
    if not has_colours(stream):
        return text
    return _WORDS.sub(
        lambda found: f"\x1b[{_COLOURS[str(found.lastgroup)]}m{found[0]}\x1b[0m", text
    )
