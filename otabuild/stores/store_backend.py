"""Reads an image from its directory in a store."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from functools import cached_property

from otabuild.format import limits
from otabuild.storage.backend import (
    CHUNK,
    Backend,
    BackendFile,
    NoSuchFileError,
    Wanted,
    check_limit,
    range_of,
)
from otabuild.stores.store import Store

_INDEX = "index.json"
_BLOBS = "blobs/sha256/"
_SMALL = 128 << 10
_TOGETHER = 8
"""Small files that are asked for one after the other without a thread being woken up between
them."""
_FILE, _FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


class StoreBackend(Backend):
    """An image directory below a key of a store. If it is a release, its blobs are all releases'.

    What was read as a whole is held, so that an image does not change while it is open. index.json
    is read first: it says whether there is an image, and all else follows from its bytes.
    """

    is_remote = True
    knows_sizes = False

    def __init__(self, url: str, store: Store, base: str, *, can_list: bool = True) -> None:
        """Take over a store.

        Args:
            url: what the user named.
            store: where the image is.
            base: the folder of the image in it, or empty.
            can_list: whether the store can be asked for a list of the image's files.

        Raises:
            NoSuchFileError: there is no index.json.
            LimitError: it is over 8 MiB.
            StoreError: the store could not be read.
        """
        super().__init__(url)
        self._store = store
        self._base = f"{base}/" if base else ""
        is_release = base.startswith("releases/")
        self._homes = ("", self._base) if is_release else (self._base,)  # where to look for blobs
        self.lists_files = can_list
        self.lists_blobs = can_list and not is_release
        self._held: dict[str, bytes | None] = {_INDEX: self._load(_INDEX, limits.INDEX)}

    def members(self) -> Iterator[BackendFile]:
        """See `Backend`; folders are those in names of files. The store is asked once."""
        return iter(self._members)

    @cached_property
    def _members(self) -> list[BackendFile]:
        found: dict[str, BackendFile] = {}
        for file in self._store.files(self._base) if self.lists_files else ():
            name = file.key.removeprefix(self._base)
            if name.startswith(_BLOBS) and not self.lists_blobs:
                continue
            found[name] = BackendFile(name, file.size, _FILE)
            for end, char in enumerate(name):
                if char == "/":
                    found[name[: end + 1]] = BackendFile(name[: end + 1], 0, _FOLDER)
        return [found[name] for name in sorted(found)]

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        if name in self._held:
            held = self._held[name]
            return None if held is None else len(held)
        found = filter(None, (self._store.stat(home + name) for home in self._homes_of(name)))
        return next((file.size for file in found), None)

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`."""
        if (held := self._held.get(name)) is not None:
            start, end = range_of(len(held), start, end, name)
            yield from (held[at : min(at + CHUNK, end)] for at in range(start, end, CHUNK))
            return
        for home in self._homes_of(name):
            parts = self._store.chunks(home + name, start, end)
            try:
                first = next(parts, b"")
            except NoSuchFileError:
                continue
            if name.startswith(_BLOBS):
                self._homes = (home,)
            if first:
                yield first
            yield from parts
            return
        raise NoSuchFileError("missing", where=name)

    def _homes_of(self, name: str) -> tuple[str, ...]:
        return self._homes if name.startswith(_BLOBS) else (self._base,)

    def read(self, name: str, limit: int) -> bytes | None:
        """See `Backend`; the size is not asked for, because the bytes tell."""
        if name not in self._held:
            try:
                self._held[name] = self._load(name, limit)
            except NoSuchFileError:
                self._held[name] = None
        if (held := self._held[name]) is not None:
            check_limit(len(held), limit, name)
        return held

    def _load(self, name: str, limit: int) -> bytes:
        found = bytearray()
        for part in self._store.chunks(self._base + name):
            found += part
            check_limit(len(found), limit, name)
        return bytes(found)

    def joins(self, files: Sequence[Wanted], file: Wanted) -> bool:
        """See `Backend`; each is a request, but work around requests is done once for all."""
        return len(files) < _TOGETHER and max(files[-1].size, file.size) <= _SMALL

    def fetch_joined(self, files: Sequence[Wanted]) -> Sequence[bytes | None]:
        """See `Backend`."""
        home = self._homes[0]
        return self._store.fetch([Wanted(home + name, size) for name, size in files])

    def total_size(self) -> int | None:
        """See `Backend`; not even a place that can is asked to list all blobs for this."""
        return None

    def traffic(self) -> tuple[int, int]:
        """See `Backend`."""
        return self._store.traffic.requests, self._store.traffic.bytes

    def close(self) -> None:
        """See `Backend`."""
        self._store.close()
