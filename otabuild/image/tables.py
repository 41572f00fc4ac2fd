"""Opens the two tables of an image as hostile input (sections 6 and 7)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otabuild.errors import TableError
from otabuild.format import file_table, limits
from otabuild.format.compat import Compat, Early
from otabuild.format.digest import Descriptor
from otabuild.format.table_schema import check_schema, check_unique, type_checks
from otabuild.image.blobs import Blobs, Chunk
from otabuild.storage.sqlite_read import Database, open_database
from otabuild.storage.zstd import decompress


def open_table(
    blobs: Blobs,
    descriptor: Descriptor,
    statements: Iterable[str],
    name: str,
    early: Iterable[str] = (),
) -> Database:
    """Open the table for a descriptor.

    Args:
        blobs: the blobs of the image.
        descriptor: the descriptor of the table; its media type says whether the table is
            compressed.
        statements: the statements that create the expected schema.
        name: the name of the table, for messages.
        early: the statements of early builders, which may have created it if `blobs.compat` accepts
            that.

    Raises:
        IntegrityError: the blob is missing, damaged or does not match the descriptor.
        TableError: not an SQLite database of this schema, or its values have wrong types.
        LimitError: it decompresses to more than the limit for tables.
    """
    statements = tuple(statements)
    database = open_database(table_chunks(blobs, descriptor, name), name)
    try:
        # First: what follows are queries, which a damaged index may answer wrongly (T3).
        database.check_integrity()
        try:
            check_schema(database.query, statements, name)
        except TableError:
            if not (early and blobs.compat.accepts(Early.NOT_UNIQUE)):
                raise
            check_schema(database.query, early, name)
        _check_types(database, statements)
        check_unique(database.query, statements, name)
    except BaseException:
        database.close()
        raise
    return database


def table_chunks(blobs: Blobs, descriptor: Descriptor, name: str) -> Iterator[Chunk]:
    """Yield the bytes of a table as SQLite expects them, trusted only after the last part.

    Raises:
        IntegrityError, LimitError: as `open_table`.
    """
    chunks = blobs.stream(descriptor.digest, descriptor.size)
    if not descriptor.media_type.endswith("+zstd"):
        return chunks
    limit = min(limits.TABLE, max(16 * limits.MIB, limits.TABLE_RATIO * descriptor.size))
    return decompress(chunks, None, limit, name, blobs.compat)


def _check_types(database: Database, statements: Iterable[str]) -> None:
    for table, query in type_checks(statements):
        for key, found in database.query(query):
            where = f"{database.name}: {table} {key!r}"
            raise TableError("values whose types are not the format's", where=where, observed=found)


class FileEntry(NamedTuple):
    """One path of a payload, as recorded in the file table.

    `mode` is the whole st_mode. `digest` (32 bytes), `size` (bytes) and `contents` (if inlined)
    belong to a regular file; `meta` is the target of a symlink. `packed_xattrs` is MessagePack.
    """

    path: str
    inode_id: int
    mode: int
    uid: int
    gid: int
    links_count: int | None
    packed_xattrs: bytes | None
    meta: bytes | None = None
    resource_id: int | None = None
    digest: bytes | None = None
    size: int = 0
    contents: bytes | None = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes by name."""
        return file_table.unpack_xattrs(self.packed_xattrs, f"inode {self.inode_id}")

    @property
    def target(self) -> str | None:
        """The target of a symlink; None for anything else."""
        if self.meta is None:
            return None
        try:
            return self.meta.decode("utf-8")
        except UnicodeDecodeError:
            raise TableError(
                "symlink target is not UTF-8", where=self.path, observed=self.meta[:100]
            ) from None

    def to_value(self) -> dict[str, object]:
        """Return the entry as plain JSON values; attribute values and digest are hex."""
        value: dict[str, object] = {
            "path": self.path,
            "type": _KINDS.get(stat.S_IFMT(self.mode), "unknown"),
            "mode": f"{stat.S_IMODE(self.mode):04o}",
            "uid": self.uid,
            "gid": self.gid,
        }
        if self.digest is not None:
            value |= {"size": self.size, "sha256": self.digest.hex()}
        if self.meta is not None:
            value["target"] = self.target
        if self.links_count is not None:
            value["links"] = self.links_count
        if self.packed_xattrs is not None:
            value["xattrs"] = {name: content.hex() for name, content in self.xattrs.items()}
        return value


_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "whiteout",
}

# The columns are those of FileEntry. `mode` is NULL if the inode is missing, and `size` if the
# resource is.
DIRECTORIES = """SELECT path, ft_dir.inode_id, mode, uid, gid, links_count, xattrs,
    NULL, NULL, NULL, 0, NULL
    FROM ft_dir LEFT JOIN ft_inode USING (inode_id)"""
NON_REGULARS = """SELECT path, ft_non_regular.inode_id, mode, uid, gid, links_count, xattrs,
    meta, NULL, NULL, 0, NULL
    FROM ft_non_regular LEFT JOIN ft_inode USING (inode_id)"""
REGULARS = """SELECT path, ft_regular.inode_id, mode, uid, gid, links_count, xattrs,
    NULL, ft_regular.resource_id, digest, size, contents
    FROM ft_regular LEFT JOIN ft_inode USING (inode_id) LEFT JOIN ft_resource USING (resource_id)"""
_KINDS_OF_ENTRY = (DIRECTORIES, NON_REGULARS, REGULARS)


class FileTable:
    """An open file table."""

    statements = (*file_table.TABLES, *file_table.INDEXES)

    def __init__(self, database: Database, compat: Compat) -> None:
        self.database = database
        self.compat = compat

    @classmethod
    def open(cls, blobs: Blobs, descriptor: Descriptor, name: str) -> FileTable:
        """Open the file table of a payload; raises the same errors as `open_table`."""
        return cls(open_table(blobs, descriptor, cls.statements, name), blobs.compat)

    def select(
        self, query: str, condition: str = "", parameters: Iterable[object] = ()
    ) -> Iterator[FileEntry]:
        """Yield the entries of a query: DIRECTORIES, NON_REGULARS, REGULARS, or a union of them.

        Raises:
            TableError: a row refers to a missing inode or resource, or has a number beyond the
                limits.
        """
        for row in self.database.query(f"{query} {condition}", parameters):
            path, _, mode, uid, gid, *_, size, _ = row
            if mode is None or size is None:
                raise TableError("refers to an inode or a resource that does not exist", where=path)
            # Whoever reads an entry may use its numbers as those of a file: the verification need
            # not have run.
            if not (
                0 <= mode <= limits.MODE
                and 0 <= uid <= limits.OWNER
                and 0 <= gid <= limits.OWNER
                and 0 <= size <= limits.FILE
            ):
                seen = f"mode {mode:o}, owner {uid}:{gid}, size {size}"
                raise TableError("a number that no file has", where=path, observed=seen)
            yield FileEntry(*row)

    def entries(
        self, condition: str = "", parameters: tuple[object, ...] = ()
    ) -> Iterator[FileEntry]:
        """Yield every entry of any kind that meets a condition, by path; raises as `select`."""
        query = " UNION ALL ".join(f"{kind} {condition}" for kind in _KINDS_OF_ENTRY)
        return self.select(query, "ORDER BY path", parameters * len(_KINDS_OF_ENTRY))

    def below(self, prefix: str) -> Iterator[FileEntry]:
        """Yield every entry whose path starts with `prefix`, which ends in `/`, in byte order."""
        return self.entries(
            "WHERE path >= ? AND path < ?", (prefix, prefix[:-1] + chr(ord("/") + 1))
        )

    def find(self, path: str) -> FileEntry | None:
        """Return the entry of a path, or None."""
        return next(self.entries("WHERE path = ?", (path,)), None)

    def count(self, expression: str) -> int:
        """Return the value of `SELECT expression`, an integer; 0 if it is NULL."""
        (row,) = self.database.query(f"SELECT {expression}")
        return int(row[0] or 0)

    def close(self) -> None:
        """Close the table."""
        self.database.close()
