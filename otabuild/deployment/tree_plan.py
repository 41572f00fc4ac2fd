"""Plans what a deployment will write, from the file table alone; does not touch the target."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from otabuild.image.tables import DIRECTORIES, NON_REGULARS, REGULARS, FileEntry, FileTable

# An inode without links_count is a separate file for each of its paths, as clients write it
# (section 12).
_CONTENT_SIZE = """(SELECT sum(size) FROM (SELECT min(resource_id) AS resource_id
        FROM ft_regular JOIN ft_inode USING (inode_id)
        GROUP BY inode_id, CASE WHEN links_count IS NULL THEN path END)
    JOIN ft_resource USING (resource_id))"""
_INODES = """(SELECT count(*) FROM ft_dir)
    + (SELECT count(*) FROM (SELECT 1 FROM ft_regular JOIN ft_inode USING (inode_id)
        GROUP BY inode_id, CASE WHEN links_count IS NULL THEN path END))
    + (SELECT count(*) FROM (SELECT 1 FROM ft_non_regular JOIN ft_inode USING (inode_id)
        GROUP BY inode_id, CASE WHEN links_count IS NULL THEN path END))"""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the target must support.

    Attributes:
        inodes: the number of inodes.
        content_size: bytes of all contents, each inode counted once.
        owners: every (uid, gid).
        samples: one example entry for each kind of entry (S_IFMT bits), attribute name and set of
            special mode bits.
    """

    inodes: int
    content_size: int
    owners: frozenset[tuple[int, int]]
    samples: tuple[FileEntry, ...]


class TreePlan:
    """The entries of a file table in writing order. The table must have passed its rules."""

    def __init__(self, table: FileTable) -> None:
        self._table = table

    def directories(self, *, bottom_up: bool = False) -> Iterator[FileEntry]:
        """Yield every directory, parents first, or parents last with `bottom_up`."""
        return self._table.select(DIRECTORIES, f"ORDER BY path {'DESC' if bottom_up else ''}")

    def non_regulars(self) -> Iterator[list[FileEntry]]:
        """Yield symlinks and whiteouts; each list has the paths of one inode."""
        return _by_inode(self._table.select(NON_REGULARS, "ORDER BY ft_non_regular.inode_id, path"))

    def inlined(self) -> Iterator[list[FileEntry]]:
        """Yield regular files with inlined content; each list has the paths of one inode."""
        return _by_inode(
            self._table.select(
                REGULARS, "WHERE contents IS NOT NULL ORDER BY ft_regular.inode_id, path"
            )
        )

    def with_content(self, digest: bytes) -> list[list[FileEntry]]:
        """Return the regular files with a content that is not inlined.

        Each list has the paths of one inode.
        """
        condition = "WHERE digest = ? AND contents IS NULL ORDER BY ft_regular.inode_id, path"
        return list(_by_inode(self._table.select(REGULARS, condition, (digest,))))

    def contents(self) -> Iterator[tuple[bytes, list[list[FileEntry]]]]:
        """Yield each content that is not inlined: its digest, and files as in `with_content`."""
        order = (
            "WHERE contents IS NULL AND size > 0 ORDER BY ft_regular.resource_id, "
            "ft_regular.inode_id, path"
        )
        for digest, found in groupby(
            self._table.select(REGULARS, order), key=lambda entry: entry.digest
        ):
            yield digest or b"", list(_by_inode(found))

    def content_size(self) -> int:
        """Return the bytes of all contents, each inode counted once."""
        return sum(
            paths[0].size
            for paths in _by_inode(
                self._table.select(REGULARS, "ORDER BY ft_regular.inode_id, path")
            )
        )

    def demands(self) -> Demands:
        """Return what the target must support."""
        query = self._table.database.query
        owners = frozenset(
            (uid, gid) for uid, gid in query("SELECT DISTINCT uid, gid FROM ft_inode")
        )
        samples: dict[object, FileEntry] = {}
        for select in (DIRECTORIES, NON_REGULARS, REGULARS):
            special = "mode & 0xE00 <> 0 OR xattrs IS NOT NULL OR mode & 0xF000 = 0x2000"
            for entry in self._table.select(select, f"WHERE {special}"):
                kind = stat.S_IFMT(entry.mode)
                samples.setdefault((kind, entry.mode & 0o7000), entry)
                for name in entry.xattrs:
                    samples.setdefault((kind, name), entry)
        return Demands(
            self._table.count(_INODES),
            self._table.count(_CONTENT_SIZE),
            owners,
            tuple(dict.fromkeys(samples.values())),
        )


def _by_inode(entries: Iterable[FileEntry]) -> Iterator[list[FileEntry]]:
    return (list(group) for _, group in groupby(entries, key=_file))


def _file(entry: FileEntry) -> tuple[int, str]:
    """Return what the paths of one file have in common."""
    return entry.inode_id, entry.path if entry.links_count is None else ""
