"""The resource table of an image: one row for each content, and for each blob that a filter needs (section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otabuild.build.plan import Storage, Stored
from otabuild.format import resource_table as rt
from otabuild.format.filters import Bundled, Compressed, Filter, Sliced
from otabuild.format.resource_table import ResourceRow
from otabuild.storage.cache import Blob
from otabuild.storage.sqlite_write import writing_database

PAGE_SIZE = 4096
_FIRST_ID = 1 << 15
"""Ids from here on take the same number of bytes in a row, which lets rows line up."""


class Resources:
    """Rows with their references still by digest.

    A digest may play two parts: the frame of one file can itself be a file of the rootfs. A leaf stays a leaf, since
    slices and clients want its blob as it is; what nothing needs any more is left out at the end.
    """

    def __init__(self, storage: Storage) -> None:
        self._sizes: dict[bytes, int] = {}
        self._made_of: dict[bytes, tuple[bytes, ...]] = {}
        self._ranges: dict[bytes, tuple[int, int]] = {}
        self._compressed: set[bytes] = set()
        self._wanted: list[Blob] = []
        stored = [*(bundle.stored for bundle in storage.bundles), *storage.singles]
        for item in stored:
            for leaf in item.leaves:
                self._add(leaf)
        for item in stored:
            self._add_stored(item)
        for bundle in storage.bundles:
            for member, offset in bundle.members:
                if self._add(member, bundle.stored.content.digest):
                    self._ranges[member.digest] = offset, member.size
                self._wanted.append(member)
        self._wanted += [item.content for item in storage.singles]
        self._ids = {digest: number for number, digest in enumerate(self._ordered(storage), start=_FIRST_ID)}

    def rows(self) -> Iterator[ResourceRow]:
        """The rows of the table, ids ascending."""
        for digest, number in self._ids.items():
            made = self._filter(digest)
            yield ResourceRow(number, digest, self._sizes[digest], made.pack() if made else None)

    def leaves(self) -> Iterator[Blob]:
        """The blobs that the image must hold."""
        return (Blob(digest, self._sizes[digest]) for digest in self._ids if digest not in self._made_of)

    def _add(self, blob: Blob, *made_of: bytes) -> bool:
        if blob.digest in self._sizes:
            return False
        self._sizes[blob.digest] = blob.size
        if made_of:
            self._made_of[blob.digest] = made_of
        return True

    def _add_stored(self, item: Stored) -> None:
        leaves = tuple(leaf.digest for leaf in item.leaves)
        self._add(item.compressed or item.content, *leaves)
        if item.compressed is not None and self._add(item.content, item.compressed.digest):
            self._compressed.add(item.content.digest)

    def _filter(self, digest: bytes) -> Filter | None:
        made_of = self._made_of.get(digest)
        if made_of is None:
            return None
        ids = tuple(self._ids[part] for part in made_of)
        if digest in self._compressed:
            return Compressed(ids[0])
        if digest in self._ranges:
            return Bundled(ids[0], *self._ranges[digest])
        return Sliced(ids)

    def _ordered(self, storage: Storage) -> Iterable[bytes]:
        """Every digest that a content needs, rows of a kind together: so the table is smallest when compressed.

        Leaves and bundles come first, since filters name them, then bundle members, then single contents by size.
        """
        found: dict[bytes, None] = {}

        def visit(digest: bytes) -> None:  # chains are four deep at most, by construction
            for part in self._made_of.get(digest, ()):
                visit(part)
            found[digest] = None

        for blob in self._wanted:
            visit(blob.digest)
        singles = sorted(storage.singles, key=lambda single: (single.content.size, single.content.digest))
        bundles = [bundle.stored for bundle in storage.bundles]
        order = [leaf.digest for stored in (*bundles, *singles) for leaf in stored.leaves]
        order += [stored.compressed.digest for stored in (*bundles, *singles) if stored.compressed]
        order += [stored.content.digest for stored in bundles]
        order += [member.digest for bundle in storage.bundles for member, _offset in bundle.members]
        order += [single.content.digest for single in singles]
        return dict.fromkeys(digest for digest in order if digest in found)


def write_resource_table(path: str, rows: Iterable[ResourceRow]) -> None:
    """Write the rows to a database file."""
    with writing_database(path, rt.TABLES, page_size=PAGE_SIZE) as db:
        rt.insert(db, rows)
