"""Reads an image that is not written anywhere: from the files that would be written."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from otabuild.errors import IntegrityError
from otabuild.storage.backend import CHUNK, Backend, BackendFile, NoSuchFileError, range_of
from otabuild.storage.member import Member, arrange

_FILE, _FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


class MemberBackend(Backend):
    """The files that a `Sink` would be given, as an image."""

    def __init__(self, path: str, members: Iterable[Member]) -> None:
        super().__init__(path)
        self._members = {member.name: member for member in arrange(members)}

    def members(self) -> Iterator[BackendFile]:
        """See `Backend`."""
        for name, member in self._members.items():
            yield BackendFile(name, member.size, _FOLDER if name.endswith("/") else _FILE)

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        member = self._members.get(name)
        return None if member is None else member.size

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`."""
        if name not in self._members:
            raise NoSuchFileError("missing", where=name)
        member, at = self._members[name], 0
        start, end = range_of(member.size, start, end, name)
        for chunk in member.read():
            if at >= end:
                return
            part = chunk[max(0, start - at) : max(0, end - at)]
            yield from (part[begin : begin + CHUNK] for begin in range(0, len(part), CHUNK))
            at += len(chunk)
        if at < end:
            raise IntegrityError(
                "shorter than it was", where=name, observed=at, expected=member.size
            )

    def total_size(self) -> int | None:
        """See `Backend`."""
        return sum(member.size for member in self._members.values())

    def close(self) -> None:
        """See `Backend`; whoever made the members closes what they are read from."""
