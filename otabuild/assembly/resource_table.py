"""The resource table of an image: one row for each content and for each blob that a filter needs (section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """The parts of a resource, by digest: none for a leaf. `offset` is the offset in a bundle, or _WHOLE."""

    size: int
    parts: tuple[bytes, ...] = ()
    offset: int | None = None


class Resources:
    """Rows whose references are still digests.

    A digest may have two roles: the frame of one file can itself be a file of the rootfs. A leaf stays a leaf, because
    slices and clients need its blob unchanged. Rows that nothing needs are removed at the end.
    """

    def __init__(self, storage: Storage) -> None:
        self._made: dict[bytes, _Made] = {}
        for item in _stored(storage):
            for leaf in item.leaves:
                self._made.setdefault(leaf.digest, _Made(leaf.size))
        for item in _stored(storage):
            self._add_stored(item)
        for bundle in storage.bundles:
            whole = (bundle.stored.content.digest,)
            for member, offset in bundle.members:
                self._made.setdefault(member.digest, _Made(member.size, whole, offset))
        self._ids = self._number(storage)

    def rows(self) -> Iterator[ResourceRow]:
        """Yield the rows of the table by ascending id."""
        for digest, number in self._ids.items():
            made = self._made[digest]
            yield ResourceRow(number, digest, made.size, self._filter(made))

    def leaves(self) -> Iterator[Blob]:
        """Yield the blobs that the image must contain."""
        return (Blob(digest, self._made[digest].size) for digest in self._ids if not self._made[digest].parts)

    def _add_stored(self, item: StoredContent) -> None:
        whole = item.compressed or item.content
        self._made.setdefault(whole.digest, _Made(whole.size, tuple(leaf.digest for leaf in item.leaves)))
        if item.compressed is not None:
            self._made.setdefault(item.content.digest, _Made(item.content.size, (item.compressed.digest,), _WHOLE))

    def _filter(self, made: _Made) -> bytes | None:
        if not made.parts:
            return None
        ids = tuple(self._ids[part] for part in made.parts)
        if made.offset is None:
            return Sliced(ids).pack()
        if made.offset == _WHOLE:
            return Compressed(ids[0]).pack()
        return Bundled(ids[0], made.offset, made.size).pack()

    def _number(self, storage: Storage) -> dict[bytes, int]:
        """Assign ids to all digests that a content needs. Rows of a kind are together, which compresses best.

        Leaves and bundles come first, because filters name them, then bundle members, then single contents by size.
        """
        needed: set[bytes] = set()
        for digest in _contents(storage):
            self._need(digest, needed)
        ids: dict[bytes, int] = {}
        for digest in _in_order(storage):
            if digest in needed and digest not in ids:
                ids[digest] = _FIRST_ID + len(ids)
        return ids

    def _need(self, digest: bytes, needed: set[bytes]) -> None:
        """Mark a resource and its parts as needed; chains are at most four deep by construction."""
        for part in self._made[digest].parts:
            self._need(part, needed)
        needed.add(digest)


def _stored(storage: Storage) -> Iterator[StoredContent]:
    for bundle in storage.bundles:
        yield bundle.stored
    yield from storage.singles


def _contents(storage: Storage) -> Iterator[bytes]:
    for bundle in storage.bundles:
        for member, _offset in bundle.members:
            yield member.digest
    for single in storage.singles:
        yield single.content.digest


def _in_order(storage: Storage) -> Iterator[bytes]:
    singles = sorted(storage.singles, key=lambda single: (single.content.size, single.content.digest))
    items = [bundle.stored for bundle in storage.bundles] + singles
    yield from (leaf.digest for item in items for leaf in item.leaves)
    yield from (item.compressed.digest for item in items if item.compressed)
    yield from (bundle.stored.content.digest for bundle in storage.bundles)
    yield from (member.digest for bundle in storage.bundles for member, _offset in bundle.members)
    yield from (single.content.digest for single in singles)


def write_resource_table(path: str, rows: Iterable[ResourceRow]) -> None:
    """Write the rows to a database file."""
    with writing_database(path, rt.TABLES, page_size=PAGE_SIZE) as db:
        rt.insert(db, rows)
