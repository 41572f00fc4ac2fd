"""os-release: what a rootfs says of its operating system."""

from __future__ import annotations

import re
import shlex


def parse_os_release(raw: bytes) -> dict[str, str]:
    """Return the values of an os-release file by their names; nothing in it is an error."""
    named: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            named[name.strip()] = _unquoted(value.strip())
    return named


def _unquoted(value: str) -> str:
    """Read a value like a shell; a value that a shell would refuse is not changed."""
    try:
        read = " ".join(shlex.split(value))
    except ValueError:
        return value
    return re.sub(r"\\([$`])", r"\1", read)  # shlex does not unescape these two within quotes
