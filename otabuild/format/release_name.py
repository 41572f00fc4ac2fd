"""What a release in a store may be called."""

from __future__ import annotations

from otabuild.errors import InputError

_LONGEST = 128
"""In bytes: with a digest, and while it is written, it must still be a name that every file system
takes."""


def check_release_name(name: str) -> None:
    """Check that a release may have this name.

    Raises:
        InputError: it may not, because it is a part of names of files and of URLs.
    """
    if (
        not name.isprintable()
        or name != name.strip()
        or not name
        or name.startswith(".")
        or {"/", "@", "\\"} & {*name}
        or len(name.encode()) > _LONGEST
    ):
        raise InputError(
            "not a name for a release",
            observed=repr(name[:_LONGEST]),
            expected=(
                f"1 to {_LONGEST} bytes of printable text without / \\ or @ that begins with no dot"
            ),
            hint="such as 1.4.2",
        )
