"""A store in the memory of one process, for tests of what is built upon stores."""

from __future__ import annotations

import time
from collections.abc import Iterator

from otabuild.storage.backend import CHUNK, NoSuchFileError, range_of
from otabuild.storage.member import Member, member_chunks
from otabuild.stores.store import Store, StoreFile


class MemoryStore(Store):
    """Files in a dict; a test may look into it, and change it behind everybody's back."""

    def __init__(self, url: str = "memory:") -> None:
        super().__init__(url)
        self.held: dict[str, tuple[bytes, float]] = {}

    def put(self, key: str, member: Member) -> None:
        self.held[key] = b"".join(member_chunks(member)), time.time()

    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if key not in self.held:
            raise NoSuchFileError("missing", where=key)
        content, _ = self.held[key]
        self.traffic.add(1, 0)
        start, end = range_of(len(content), start, end, key)
        for at in range(start, end, CHUNK):
            part = content[at : min(at + CHUNK, end)]
            self.traffic.add(0, len(part))
            yield part

    def stat(self, key: str) -> StoreFile | None:
        if key not in self.held:
            return None
        content, modified = self.held[key]
        return StoreFile(key, len(content), modified)

    def files(self, prefix: str) -> Iterator[StoreFile]:
        for key, (content, modified) in sorted(self.held.items()):
            if key.startswith(prefix):
                yield StoreFile(key, len(content), modified)

    def delete(self, key: str) -> None:
        self.held.pop(key, None)

    def close(self) -> None:
        """Nothing is open."""
