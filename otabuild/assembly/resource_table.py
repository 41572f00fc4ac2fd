"""The resource table: a row for each content and for each blob that a filter needs (section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from otabuild.assembly.stored import Storage, StoredContent
from otabuild.format import resource_table as rt
from otabuild.format.digest import Blob
from otabuild.format.filters import Bundled, Compressed, Sliced
from otabuild.format.resource_table import ResourceRow
from otabuild.storage.sqlite_write import writing_database

PAGE_SIZE = 4096
_FIRST_ID = 1 << 15
"""Ids from here on take the same number of bytes in a row, so that rows line up."""
_WHOLE = -1
"""Used instead of an offset: the resource is its only part as a whole, decompressed."""


class _Made(NamedTuple):
    """The parts of a resource, by digest: none for a leaf.

    `offset` is the offset in a bundle, or _WHOLE.
    """

    size: int
    parts: tuple[bytes, ...] = ()
    offset: int | None = None


class Resources:
    """Rows whose references are still digests.

    A digest may have two roles: the frame of one file can itself be a file of the rootfs. A leaf
    stays a leaf, because slices and clients need its blob unchanged. Rows that nothing needs are
    left out.

    Nearly all contents of a large tree are members of bundles, and no filter names a member. So
    memory holds only what is stored by itself, and members that have a second role there; all
    others pass by.
    """

    def __init__(self, storage: Storage) -> None:
        self._bundles = storage.bundles
        self._singles = sorted(storage.singles, key=attrgetter("content.size", "content.digest"))
        self._made: dict[bytes, _Made] = {}
        # Leaves come before what is made of them, because a leaf stays a leaf (section 7).
        for item in _stored(storage):
            for leaf in item.leaves:
                self._made.setdefault(leaf.digest, _Made(leaf.size))
        for item in _stored(storage):
            self._add_stored(item)
        needed = self._needed()
        self._ids: dict[bytes, int] = {}
        """The ids of all that a filter may name, in order."""
        for digest in self._named():
            if digest in needed and digest not in self._ids:
                self._ids[digest] = _FIRST_ID + len(self._ids)

    def rows(self) -> Iterator[ResourceRow]:
        """Yield the rows of the table by ascending id.

        Rows of a kind are together, which compresses best: leaves and bundles, because filters name
        them, then bundle members, then single contents by size.
        """
        return (
            ResourceRow(_FIRST_ID + number, digest, made.size, self._filter(made))
            for number, (digest, made) in enumerate(self._in_order())
        )

    def leaves(self) -> Iterator[Blob]:
        """Yield the blobs that the image must contain."""
        return (
            Blob(digest, made.size)
            for digest in self._ids
            if not (made := self._made[digest]).parts
        )

    def _add_stored(self, item: StoredContent) -> None:
        whole = item.compressed or item.content
        self._made.setdefault(
            whole.digest, _Made(whole.size, tuple(leaf.digest for leaf in item.leaves))
        )
        if item.compressed is not None:
            self._made.setdefault(
                item.content.digest, _Made(item.content.size, (item.compressed.digest,), _WHOLE)
            )

    def _filter(self, made: _Made) -> bytes | None:
        if not made.parts:
            return None
        ids = tuple(self._ids[part] for part in made.parts)
        if made.offset is None:
            return Sliced(ids).pack()
        if made.offset == _WHOLE:
            return Compressed(ids[0]).pack()
        return Bundled(ids[0], made.offset, made.size).pack()

    def _in_order(self) -> Iterator[tuple[bytes, _Made]]:
        for digest in self._ids:
            yield digest, self._made[digest]
        met = set(self._ids)
        for digest, made in self._contents():
            if digest not in met:
                if digest in self._made:
                    met.add(digest)
                yield digest, made

    def _contents(self) -> Iterator[tuple[bytes, _Made]]:
        """Yield the members of bundles, then single contents by size."""
        for bundle in self._bundles:
            whole = (bundle.stored.content.digest,)
            for member, offset in bundle.members:
                yield (
                    member.digest,
                    self._made.get(member.digest) or _Made(member.size, whole, offset),
                )
        for single in self._singles:
            yield single.content.digest, self._made[single.content.digest]

    def _named(self) -> Iterator[bytes]:
        """Yield the digests that filters may name: leaves, frames and bundles."""
        items = [*(bundle.stored for bundle in self._bundles), *self._singles]
        yield from (leaf.digest for item in items for leaf in item.leaves)
        yield from (item.compressed.digest for item in items if item.compressed)
        yield from (bundle.stored.content.digest for bundle in self._bundles)

    def _needed(self) -> set[bytes]:
        """Return all that contents are made of, and the contents that are not only in a bundle."""
        needed: set[bytes] = set()
        for digest, made in self._contents():
            self._need(digest, made, needed)
        return needed

    def _need(self, digest: bytes, made: _Made, needed: set[bytes]) -> None:
        """Mark a resource and its parts as needed; chains are at most four deep by construction."""
        for part in made.parts:
            if part not in needed:
                self._need(part, self._made[part], needed)
        if digest in self._made:
            needed.add(digest)


def _stored(storage: Storage) -> Iterator[StoredContent]:
    for bundle in storage.bundles:
        yield bundle.stored
    yield from storage.singles


def write_resource_table(path: str, rows: Iterable[ResourceRow]) -> None:
    """Write the rows to a database file."""
    with writing_database(path, rt.TABLES, page_size=PAGE_SIZE) as db:
        rt.insert(db, rows)
