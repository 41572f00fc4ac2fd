"""Rules about one file table (sections 6 and 12).

Most rules are a query for the rows that violate them, so a table of any size is checked in little
memory. When a rule runs, values have the right types (`open_table` checks this), but nothing else
is known about them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from string import Template
from typing import Any
from unicodedata import normalize

from otabuild.errors import Finding, IntegrityError, OtabuildError, PathError, Severity, TableError
from otabuild.findings import SHOWN, rule
from otabuild.format import limits
from otabuild.format.compat import Early
from otabuild.format.file_table import (
    ACL,
    EMPTY_DIGEST,
    acl_permissions,
    unpack_xattrs,
    xattr_problem,
)
from otabuild.image.tables import FileTable
from otabuild.storage.sqlite_read import Database

_NORMAL = re.compile(rb"/|(/(?!\.{1,2}(/|\Z))[^/\0]{1,255})+", re.DOTALL)
_EVERY = """WITH every (path, inode_id) AS (SELECT path, inode_id FROM ft_dir UNION ALL
    SELECT path, inode_id FROM ft_non_regular UNION ALL SELECT path, inode_id FROM ft_regular)"""
_HOLDERS = """SELECT inode_id, CAST(path AS BLOB), held FROM (
        SELECT path, inode_id, NULL AS held FROM ft_dir
        UNION ALL SELECT path, inode_id, meta FROM ft_non_regular
        UNION ALL SELECT path, inode_id, resource_id FROM ft_regular)
    WHERE inode_id IN ({})"""
_COUNTS = """(SELECT inode_id, count(*) AS paths FROM ft_regular GROUP BY inode_id
    UNION ALL SELECT inode_id, count(*) FROM ft_non_regular GROUP BY inode_id)
    JOIN ft_inode USING (inode_id)"""
_WORDS = {
    "every": _EVERY,
    "counts": _COUNTS,
    "empty": f"x'{EMPTY_DIGEST.hex()}'",
    "file": str(limits.FILE),
    "inline": str(limits.INLINE),
    "owner": str(limits.OWNER),
    "mode": str(limits.MODE),
}
"""The replacements for `$word` in the queries below."""


@dataclass(frozen=True, slots=True)
class FileTableSubject:
    """An open file table."""

    table: FileTable

    def __post_init__(self) -> None:
        define = self.table.database.define
        define("path_problem", _path_problem)
        define("target_problem", _target_problem)
        define("xattr_problem", _xattr_problem, 2)
        define("acl_permissions", _acl_permissions)
        define("parent", _parent)
        define("folded", _folded)
        define("sha256", _sha256)
        define("links_due", self._links_due)

    def _links_due(self, paths: int) -> int:
        """Return what an absent links_count stands for."""
        return paths if self.table.compat.accepts(Early.NO_LINKS) else 0


def _path_problem(raw: bytes) -> str | None:
    if not _NORMAL.fullmatch(raw) or len(raw) > limits.PATH:
        return "is not absolute and normal, or too long, or contains NUL"
    return None if _is_utf8(raw) else "is not UTF-8"


def _target_problem(raw: bytes | None) -> str | None:
    if (
        raw is None
        or not 1 <= len(raw) <= limits.SYMLINK_TARGET
        or b"\0" in raw
        or not _is_utf8(raw)
    ):
        return "the target of the symlink is not 1 to 4095 bytes of UTF-8 without NUL"
    return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _xattr_problem(packed: bytes, mode: int) -> str | None:
    try:
        xattrs = unpack_xattrs(packed, "")
    except OtabuildError as error:
        return error.what
    return next(
        (
            f"{name} {problem}"
            for name, value in xattrs.items()
            if (problem := xattr_problem(name, value, mode))
        ),
        None,
    )


def _acl_permissions(packed: bytes) -> int | None:
    """Return the bits of the access control list among attributes; -1 if Linux keeps no such."""
    try:
        acl = unpack_xattrs(packed, "").get(ACL)
    except OtabuildError:
        return None
    found = None if acl is None else acl_permissions(acl)
    return -1 if found is None and acl is not None else found


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _folded(path: str) -> str:
    return normalize("NFC", path).casefold()


def _sha256(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def _text(place: Any) -> str:
    return place.decode("utf-8", "backslashreplace") if isinstance(place, bytes) else str(place)


def _named_inodes(database: Database, ids: Sequence[int]) -> Iterator[str]:
    """Yield inodes with two of their paths: if contents or targets differ, two such.

    One pass finds those of all inodes: the tables have no index by inode.
    """
    ends: dict[int, tuple[tuple[str, bytes], tuple[str, bytes]]] = {}
    for inode_id, path, held in database.query(_HOLDERS.format(",".join("?" * len(ids))), ids):
        holder = (repr(held), path)
        first, last = ends.get(inode_id, (holder, holder))
        ends[inode_id] = min(first, holder), max(last, holder)
    for inode_id in ids:
        paths = dict.fromkeys(_text(path) for _, path in ends.get(inode_id, ()))
        yield f"{inode_id} ({' and '.join(paths)})" if paths else str(inode_id)


def _query(
    id_: str,
    doc: str,
    what: str,
    sql: str,
    *,
    severity: Severity = "error",
    error: type[OtabuildError] = TableError,
    kind: str = "",
) -> None:
    """Register a rule: `sql` must not return a row.

    Its columns are where (the number of a `kind` without a path: inode or resource), and optionally
    observed and expected.
    """
    query = Template(sql).substitute(_WORDS)

    def check(subject: FileTableSubject) -> Iterator[Finding]:
        return _findings(subject.table.database, query, what, kind)

    check.__doc__ = doc
    rule(id_, FileTableSubject, severity=severity, error=error)(check)


def _findings(database: Database, query: str, what: str, kind: str) -> Iterator[Finding]:
    rows = list(islice(database.query(query), SHOWN + 1))
    keys = [row[0] for row in rows]
    places = _named_inodes(database, keys) if kind == "inode" else map(_text, keys)
    for place, (_, *facts) in zip(places, rows, strict=True):
        yield Finding(f"{database.name}: {kind}{' ' if kind else ''}{place}", what, *facts)


_query(
    "table.path",
    "Paths are absolute, normal, UTF-8, at most 4095 bytes with names of at most 255 (section 6).",
    "a path that is not legal",
    """$every SELECT CAST(path AS BLOB), path_problem(CAST(path AS BLOB)) AS problem FROM every
        WHERE problem IS NOT NULL""",
    error=PathError,
)
_query(
    "table.root",
    "`/` itself is a row of ft_dir (section 6).",
    "there is no row for /",
    "SELECT '/' WHERE NOT EXISTS (SELECT 1 FROM ft_dir WHERE path = '/')",
)
_query(
    "table.parent",
    "Every parent is a row of ft_dir (section 6), so that no entry can be "
    "written through a symlink.",
    "the parent is not a directory of the table",
    """$every SELECT path FROM every
        WHERE path <> '/'
            AND NOT EXISTS (SELECT 1 FROM ft_dir WHERE ft_dir.path = parent(every.path))""",
    error=PathError,
)
_query(
    "table.path-twice",
    "A path is in one table only (section 6).",
    "a path that is in two tables",
    """SELECT path, 'ft_non_regular and ft_dir' FROM ft_non_regular
        WHERE path IN (SELECT path FROM ft_dir)
        UNION ALL SELECT path, 'ft_non_regular and ft_regular' FROM ft_non_regular
        WHERE path IN (SELECT path FROM ft_regular)
        UNION ALL SELECT path, 'ft_dir and ft_regular' FROM ft_dir
        WHERE path IN (SELECT path FROM ft_regular)""",
    error=PathError,
)
_query(
    "table.inode",
    """Every path has an inode of its table's type (section 6).

    The types are directories; regular files; symlinks and whiteouts. Therefore no two tables share
    an inode.""",
    "the inode is missing, or not of the table's type",
    """SELECT path, printf('%o', mode) FROM ft_dir LEFT JOIN ft_inode USING (inode_id)
        WHERE mode IS NULL OR mode & 0xF000 <> 0x4000
        UNION ALL SELECT path, printf('%o', mode) FROM ft_regular
        LEFT JOIN ft_inode USING (inode_id) WHERE mode IS NULL OR mode & 0xF000 <> 0x8000
        UNION ALL SELECT path, printf('%o', mode) FROM ft_non_regular
        LEFT JOIN ft_inode USING (inode_id)
        WHERE mode IS NULL OR mode & 0xF000 NOT IN (0xA000, 0x2000)""",
)
_query(
    "table.owner",
    "uid and gid are 0 to 2^32-2 (section 12): chown reads 2^32-1 as an order to change nothing.",
    "uid or gid out of range",
    """SELECT inode_id, uid || ':' || gid FROM ft_inode
        WHERE uid NOT BETWEEN 0 AND $owner OR gid NOT BETWEEN 0 AND $owner""",
    kind="inode",
)
_query(
    "table.mode",
    "A mode has 16 bits (section 12).",
    "mode out of range",
    "SELECT inode_id, mode FROM ft_inode WHERE mode NOT BETWEEN 0 AND $mode",
    kind="inode",
)
_query(
    "table.shared-directory",
    "No two directories share an inode (section 6): a directory has one path.",
    "an inode that two directories share",
    "SELECT inode_id, count(*) FROM ft_dir GROUP BY inode_id HAVING count(*) > 1",
    kind="inode",
)
_query(
    "table.shared-content",
    "Paths that share an inode share its content (sections 6 and 12): clients use "
    "that of the first.",
    "paths share the inode, but not the content",
    "SELECT inode_id FROM ft_regular GROUP BY inode_id HAVING min(resource_id) <> max(resource_id)",
    kind="inode",
)
_query(
    "table.shared-target",
    "Paths that share an inode share its target (section 6).",
    "paths share the inode, but not the target",
    """SELECT inode_id FROM ft_non_regular GROUP BY inode_id
        HAVING min(meta) <> max(meta) OR count(meta) NOT IN (0, count(*))""",
    kind="inode",
)
_query(
    "table.links",
    "links_count of an inode with several paths is at least the number of paths "
    "(sections 6 and 12).",
    "links_count is below the number of paths that share the inode",
    """SELECT inode_id, links_count, paths FROM $counts
        WHERE CASE WHEN paths > 1 THEN coalesce(links_count, links_due(paths)) < paths END""",
    kind="inode",
)
_query(
    "table.links-more",
    "otabuild writes the number of paths as links_count; other builders also "
    "count links outside the tree.",
    "links_count is above the number of paths",
    "SELECT inode_id, links_count, paths FROM $counts WHERE links_count > max(paths, 1)",
    severity="note",
    kind="inode",
)
_query(
    "table.target",
    "A symlink has a target: a BLOB of 1 to 4095 bytes of UTF-8 without NUL (sections 6 and 12).",
    "a symlink without a legal target",
    """SELECT path, target_problem(meta) AS problem FROM ft_non_regular
        JOIN ft_inode USING (inode_id) WHERE mode & 0xF000 = 0xA000 AND problem IS NOT NULL""",
)
_query(
    "table.whiteout",
    "A character device is a whiteout (0,0) and has no meta (section 6).",
    "a whiteout with meta",
    """SELECT path, hex(substr(meta, 1, 20)) FROM ft_non_regular JOIN ft_inode USING (inode_id)
        WHERE mode & 0xF000 = 0x2000 AND meta IS NOT NULL""",
)
_query(
    "table.xattrs",
    "xattrs are NULL or a MessagePack map of legal names to bytes, at most 1 MiB, "
    "that Linux can set of such an inode; no namespaced capability (section 6).",
    "extended attributes that are not legal",
    """SELECT inode_id, xattr_problem(xattrs, coalesce(mode & 0xF000, 0)) AS problem FROM ft_inode
        WHERE xattrs IS NOT NULL AND problem IS NOT NULL""",
    kind="inode",
)
_query(
    "table.acl",
    "An access control list says the same as the mode: Linux sets the mode by the list, so that no "
    "client keeps both.",
    "mode and access control list differ",
    """SELECT inode_id, printf('%03o', mode & 511),
            CASE bits WHEN -1 THEN 'a list that Linux keeps' ELSE printf('%03o', bits) END
        FROM (SELECT inode_id, mode, acl_permissions(xattrs) AS bits FROM ft_inode
            WHERE xattrs IS NOT NULL)
        WHERE bits <> mode & 511""",
    severity="note",
    kind="inode",
)
_query(
    "table.content-missing",
    "Every regular file refers to a row of ft_resource (section 6).",
    "refers to no resource",
    """SELECT path, ft_regular.resource_id FROM ft_regular LEFT JOIN ft_resource USING (resource_id)
        WHERE digest IS NULL""",
)
_query(
    "table.empty-resource",
    "Row 0 of ft_resource is always the empty file (section 6).",
    "row 0 is not the empty file",
    """SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM ft_resource
        WHERE resource_id = 0 AND size = 0 AND digest = $empty AND contents = x'')""",
    error=IntegrityError,
    kind="resource",
)
_query(
    "table.resource",
    """A digest has 32 bytes, a size is 0 to 16 TiB, 0 for the empty content only (sections 6, 12).

    Kept although the rules about inlining and the resource table find the same: it names the error
    itself.""",
    "digest or size of a resource is not legal",
    """SELECT resource_id, size FROM ft_resource
        WHERE length(digest) <> 32 OR size NOT BETWEEN 0 AND $file
            OR (size = 0) <> (digest = $empty)""",
    error=IntegrityError,
    kind="resource",
)
_query(
    "table.inline",
    "Contents of up to 64 bytes are inlined, larger ones are not (section 6).",
    "a content that is inlined, or not, against the rule",
    "SELECT resource_id, size FROM ft_resource WHERE (size <= $inline) <> (contents IS NOT NULL)",
    kind="resource",
)
_query(
    "table.inline-content",
    "An inlined content has the size and the digest of its row (section 6).",
    "the inlined content does not match its row",
    """SELECT resource_id, length(contents), size FROM ft_resource
        WHERE contents IS NOT NULL AND (length(contents) <> size OR sha256(contents) <> digest)""",
    error=IntegrityError,
    kind="resource",
)
_query(
    "table.orphan-inode",
    "Every inode has a path; an inode without one is harmless.",
    "an inode without a path",
    """SELECT inode_id FROM ft_inode
        WHERE inode_id NOT IN (SELECT inode_id FROM ft_regular)
            AND inode_id NOT IN (SELECT inode_id FROM ft_dir)
            AND inode_id NOT IN (SELECT inode_id FROM ft_non_regular)""",
    severity="note",
    kind="inode",
)
_query(
    "table.orphan-resource",
    "Every resource except row 0 has a file; a resource without one is harmless.",
    "a resource without a file",
    """SELECT resource_id FROM ft_resource WHERE resource_id <> 0 AND NOT EXISTS
        (SELECT 1 FROM ft_regular WHERE ft_regular.resource_id = ft_resource.resource_id)""",
    severity="note",
    kind="resource",
)
_query(
    "table.case",
    "No two names are equal under case folding: a target that folds case would merge the files.",
    "names that differ in case or composition only",
    "$every SELECT min(path), max(path) FROM every GROUP BY folded(path) HAVING count(*) > 1",
    severity="note",
)
