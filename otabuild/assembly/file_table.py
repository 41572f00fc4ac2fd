"""The file table of a tree (section 6) and the labels with its counts (section 4)."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from otabuild.assembly.tree import TreeRow
from otabuild.errors import InputError
from otabuild.format import annotations as ann
from otabuild.format import file_table as ft
from otabuild.storage.sqlite_write import writing_database

PAGE_SIZE = 4096
_BATCH = 5000


@dataclass(slots=True)
class TreeCounts:
    """The counts of a rootfs for the labels of an image config; sizes in bytes."""

    regular: int = 0
    non_regular: int = 0
    directories: int = 0
    size: int = 0
    unique: int = 0
    unique_size: int = 0
    blobs: int = 0
    blobs_size: int = 0

    def labels(self) -> dict[str, int]:
        """Return the labels by their full keys."""
        return {
            ann.BLOBS_COUNT: self.blobs,
            ann.BLOBS_SIZE: self.blobs_size,
            ann.ROOTFS_SIZE: self.size,
            ann.REGULAR_COUNT: self.regular,
            ann.NON_REGULAR_COUNT: self.non_regular,
            ann.DIRS_COUNT: self.directories,
            ann.UNIQUE_COUNT: self.unique,
            ann.UNIQUE_SIZE: self.unique_size,
        }


def link_counts(rows: Iterable[TreeRow]) -> Counter[int]:
    """Count the paths of each hard-link group inside the tree."""
    return Counter(row.link for row in rows if row.link is not None)


def write_file_table(path: str, rows: Iterable[TreeRow], links: Counter[int]) -> TreeCounts:
    """Write the file table of a tree to a database file.

    Args:
        path: where to create the database.
        rows: the tree, in path order; inodes and resources are numbered in this order.
        links: the result of `link_counts` for the same rows.

    Returns:
        The counts of the tree.

    Raises:
        InputError: hard links of one inode that differ in owner, mode, attributes or content.
    """
    with writing_database(path, ft.TABLES, page_size=PAGE_SIZE) as db:
        writer = _Writer(db, links)
        for row in rows:
            writer.add(row)
        writer.flush()
        for statement in ft.INDEXES:
            db.execute(statement)
    return writer.counts


class _Writer:
    def __init__(self, db: sqlite3.Connection, links: Counter[int]) -> None:
        self.counts = TreeCounts(unique=1)
        self._db, self._links = db, links
        self._batches: defaultdict[type[ft.Row], list[ft.Row]] = defaultdict(list)
        self._resources = {ft.EMPTY_DIGEST: ft.EMPTY_RESOURCE_ID}
        self._groups: dict[int, tuple[int, TreeRow]] = {}
        self._inodes = 0
        self._pending = 0
        self._put(ft.EMPTY_RESOURCE)

    def add(self, row: TreeRow) -> None:
        inode_id = self._inode(row)
        if stat.S_ISREG(row.mode):
            self._put(ft.Regular(row.path, inode_id, self._resource(row, inode_id)))
            self.counts.regular += 1
            self.counts.size += row.size
        elif stat.S_ISDIR(row.mode):
            self._put(ft.Directory(row.path, inode_id))
            self.counts.directories += 1
        else:
            self._put(
                ft.NonRegular(
                    row.path, inode_id, None if row.target is None else row.target.encode()
                )
            )
            self.counts.non_regular += 1

    def flush(self) -> None:
        for kind, batch in self._batches.items():
            ft.insert(self._db, kind, batch)
            batch.clear()
        self._pending = 0

    def _put(self, row: ft.Row) -> None:
        self._batches[type(row)].append(row)
        self._pending += 1
        if self._pending >= _BATCH:
            self.flush()

    def _inode(self, row: TreeRow) -> int:
        shared = row.link is not None and self._links[row.link] > 1
        if shared and row.link in self._groups:
            inode_id, first = self._groups[row.link]
            if first._replace(path="") != row._replace(path=""):
                raise InputError(
                    "hard links of one file differ in owner, mode, attributes or content",
                    where=f"{first.path} and {row.path}",
                    hint="name both paths in the rule that changes one of them",
                )
            return inode_id
        # In path order, because clients make directories and links in the order of these numbers
        # (section 6): parents come first.
        self._inodes += 1
        count = self._links[row.link] if shared and row.link is not None else None
        self._put(ft.Inode(self._inodes, row.uid, row.gid, row.mode, count, row.xattrs))
        if shared and row.link is not None:
            self._groups[row.link] = self._inodes, row
        return self._inodes

    def _resource(self, row: TreeRow, inode_id: int) -> int:
        """Return the id of a content.

        It is that of the first inode with it: similar indexes compress better.
        """
        assert row.digest is not None
        known = self._resources.get(row.digest)
        if known is not None:
            return known
        resource_id = self._resources[row.digest] = inode_id
        self._put(ft.Resource(resource_id, row.digest, row.size, row.inline))
        self.counts.unique += 1
        self.counts.unique_size += row.size
        if row.inline is None:
            self.counts.blobs += 1
            self.counts.blobs_size += row.size
        return resource_id
