"""The interface of every input of a rootfs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from otabuild.rootfs.entry import Entry


class RootfsSource(Protocol):
    """A directory tree or an archive, as a stream of entries.

    The stream is in path order (byte order of the whole path, for example `/a`, `/a-b`, `/a/x`),
    starts with `/`, and has every parent before its children. It may contain entries that the
    format cannot represent (fifos, names that are not UTF-8); the gate of the scan handles them. A
    directory that an archive does not describe, but places an entry in, is `implied`: it has mode
    0.
    """

    def fingerprint(self) -> str:
        """Return a text that changes whenever the input does.

        This is cheap: contents of files are not read.
        """

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in path order."""

    def holders(self, path: str) -> Iterator[str]:
        """Yield what has an entry at a path, for messages: the source, or each such layer of it."""
