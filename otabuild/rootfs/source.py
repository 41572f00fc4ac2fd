"""What every input of a rootfs can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from otabuild.rootfs.entry import Entry


class Source(Protocol):
    """A directory tree or an archive, as a stream of entries.

    The stream is in path order (byte order of the whole path, so `/a`, `/a-b`, `/a/x`), starts with `/`, and has every
    parent before its children. It may hold what the format has no place for (fifos, names that are not UTF-8); the
    gate of the scan deals with that. A directory of which an archive says nothing, but in which it places an entry,
    is `implied`: it has mode 0.
    """

    def fingerprint(self) -> str:
        """A text that changes whenever the input does; cheap: reads no contents of files."""

    def entries(self) -> Iterator[Entry]:
        """Every entry, in path order."""
