"""Tampered file tables: threats T."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from tests.image import forge
from tests.image.forge import Mutation
from tests.rootfs.trees import acl
from tests.verification.tampering import Case, case, rebuilt, rewritten_schema, sql

BAD_CAPABILITIES = {
    "empty": b"",
    "revision-1": struct.pack("<3I", 0x01000000, 1, 0),
    "revision-1-long": struct.pack("<5I", 0x01000000, 1, 0, 0, 0),
    "revision-4": struct.pack("<5I", 0x04000000, 1, 0, 0, 0),
    "unknown-flag": struct.pack("<5I", 0x02000002, 1, 0, 0, 0),
    "junk": b"\xa5" * 20,
    "zeros": bytes(20),
}
"""Values of `security.capability` that Linux refuses to set."""


def tables() -> Iterator[Case]:
    yield from _schema_cases()
    yield from _type_cases()
    for name, rules, deploy, *statements in _ROWS:
        yield case(f"{name}", rules, deploy, file_table=sql(*statements))
    for name, path in {
        "relative": "etc/x",
        "empty": "",
        "double": "/etc//x",
        "dot": "/etc/./x",
        "dots": "/etc/../x",
        "last-dots": "/etc/..",
        "trailing": "/etc/x/",
        "nul": "/etc/x\0y",
        "long-name": "/etc/" + "n" * 256,
        "long-path": "/etc" + "/dir" * 1023 + "/name",
        "root-as-file": "//",
    }.items():
        for table, rest in (("ft_regular", (20, 1)), ("ft_non_regular", (20, b"x")), ("ft_dir", (20,))):
            mode = {"ft_regular": stat.S_IFREG, "ft_non_regular": stat.S_IFLNK, "ft_dir": stat.S_IFDIR}[table] | 0o644
            values = ",".join("?" * (1 + len(rest)))
            change = sql(
                ("INSERT INTO ft_inode VALUES (20,0,0,?,NULL,NULL)", (mode,)),
                (f"INSERT INTO {table} VALUES ({values})", (path, *rest)),
            )
            yield Case(f"T6-{table}-{name}", _path_rules(path), "PathError", {"file_table": change})
    change = sql(
        "INSERT INTO ft_inode VALUES (20,0,0,33188,NULL,NULL)",
        "INSERT INTO ft_regular VALUES (CAST(x'2f6574632fff' AS TEXT), 20, 1)",
    )
    yield case("T7-not-utf-8", "table.path table.parent table.case", "PathError", file_table=change)
    yield from _xattr_cases()


def _path_rules(path: str) -> frozenset[str]:
    """Return the rules for an illegal path, which may also lack its parent."""
    parent = path.rpartition("/")[0] or "/"
    return frozenset({"table.path"} | ({"table.parent"} if parent not in ("/", "/etc", "/bin") else set()))


_INODE = "INSERT INTO ft_inode VALUES (20,0,0,33188,NULL,NULL)"
_ROWS: list[tuple[Any, ...]] = [
    (
        "T5-dangling-inode-file",
        "table.inode",
        "TableError",
        "UPDATE ft_regular SET inode_id = 99 WHERE path = '/etc/a'",
    ),
    ("T5-dangling-inode-dir", "table.inode", "TableError", "UPDATE ft_dir SET inode_id = 99 WHERE path = '/etc'"),
    (
        "T5-dangling-inode-link",
        "table.inode",
        "TableError",
        "UPDATE ft_non_regular SET inode_id = 99 WHERE path = '/l1'",
    ),
    (
        "T5-dangling-resource",
        "table.content-missing",
        "TableError",
        "UPDATE ft_regular SET resource_id = 99 WHERE path = '/etc/a'",
    ),
    (
        "T5-no-resource",
        "table.content-missing",
        "TableError",
        "UPDATE ft_regular SET resource_id = NULL WHERE path = '/etc/a'",
    ),
    ("T5-two-tables", "table.path-twice", "PathError", _INODE, "INSERT INTO ft_regular VALUES ('/l1', 20, 1)"),
    ("T5-file-and-dir", "table.path-twice", "PathError", _INODE, "INSERT INTO ft_regular VALUES ('/etc', 20, 1)"),
    (
        "T5-link-and-dir",
        "table.path-twice",
        "PathError",
        "INSERT INTO ft_inode VALUES (20,0,0,41471,NULL,NULL)",
        "INSERT INTO ft_non_regular VALUES ('/etc', 20, x'61')",
    ),
    ("T5-no-parent", "table.parent", "PathError", _INODE, "INSERT INTO ft_regular VALUES ('/no/file', 20, 1)"),
    ("D1-parent-is-file", "table.parent", "PathError", _INODE, "INSERT INTO ft_regular VALUES ('/etc/a/x', 20, 1)"),
    ("D1-parent-is-symlink", "table.parent", "PathError", _INODE, "INSERT INTO ft_regular VALUES ('/l1/x', 20, 1)"),
    (
        "D1-dir-below-symlink",
        "table.parent",
        "PathError",
        "INSERT INTO ft_inode VALUES (20,0,0,16877,NULL,NULL)",
        "INSERT INTO ft_dir VALUES ('/etc/link/x', 20)",
    ),
    ("T5-no-root", "table.root table.parent", "TableError", "DELETE FROM ft_dir WHERE path = '/'"),
    (
        "T5-empty",
        "table.root",
        "TableError",
        "DELETE FROM ft_dir; DELETE FROM ft_regular; DELETE FROM ft_non_regular; DELETE FROM ft_inode",
    ),
    ("T9-uid-negative", "table.owner", "TableError", "UPDATE ft_inode SET uid = -1 WHERE inode_id = 12"),
    ("T9-uid-keep", "table.owner", "TableError", "UPDATE ft_inode SET uid = 4294967295 WHERE inode_id = 12"),
    ("T9-gid-keep", "table.owner", "TableError", "UPDATE ft_inode SET gid = 4294967295 WHERE inode_id = 12"),
    ("T9-gid-2^32", "table.owner", "TableError", "UPDATE ft_inode SET gid = 4294967296 WHERE inode_id = 12"),
    ("T9-uid-2^63", "table.owner", "TableError", "UPDATE ft_inode SET uid = 9223372036854775807 WHERE inode_id = 12"),
    ("T9-mode-17-bits", "table.mode", "TableError", "UPDATE ft_inode SET mode = mode + 65536 WHERE inode_id = 12"),
    ("T9-mode-negative", "table.mode", "TableError", "UPDATE ft_inode SET mode = mode - 65536 WHERE inode_id = 12"),
    ("T9-file-is-dir", "table.inode", "TableError", "UPDATE ft_inode SET mode = 16877 WHERE inode_id = 12"),
    ("T9-dir-is-file", "table.inode", "TableError", "UPDATE ft_inode SET mode = 33188 WHERE inode_id = 2"),
    ("T9-no-type", "table.inode", "TableError", "UPDATE ft_inode SET mode = 420 WHERE inode_id = 12"),
    ("D9-fifo", "table.inode", "TableError", "UPDATE ft_inode SET mode = 4516 WHERE inode_id = 6"),
    ("D9-socket", "table.inode", "TableError", "UPDATE ft_inode SET mode = 49572 WHERE inode_id = 6"),
    ("D9-block", "table.inode", "TableError", "UPDATE ft_inode SET mode = 24996 WHERE inode_id = 6"),
    (
        "D9-device-number",
        "table.whiteout",
        "TableError",
        "UPDATE ft_non_regular SET meta = x'0103' WHERE path = '/etc/gone'",
    ),
    ("T10-few-links", "table.links", "TableError", "UPDATE ft_inode SET links_count = 2 WHERE inode_id = 14"),
    ("T10-no-links", "table.links", "TableError", "UPDATE ft_inode SET links_count = NULL WHERE inode_id = 14"),
    ("T10-no-links-symlink", "table.links", "TableError", "UPDATE ft_inode SET links_count = NULL WHERE inode_id = 5"),
    (
        "T10-contents-differ",
        "table.shared-content",
        "TableError",
        "UPDATE ft_regular SET resource_id = 1 WHERE path = '/bin/tool-again'",
    ),
    (
        "T10-targets-differ",
        "table.shared-target",
        "TableError",
        "UPDATE ft_non_regular SET meta = x'61' WHERE path = '/l1'",
    ),
    (
        "T10-types-differ",
        "table.inode",
        "TableError",
        "UPDATE ft_non_regular SET inode_id = 12 WHERE path = '/etc/link'",
    ),
    ("T10-dirs-share", "table.shared-directory", "TableError", "UPDATE ft_dir SET inode_id = 2 WHERE path = '/etc'"),
    (
        "T11-digest-short",
        "table.resource table.inline-content",
        "IntegrityError",
        "UPDATE ft_resource SET digest = x'00' WHERE resource_id = 1",
    ),
    (
        "T11-size-negative",
        "table.resource table.inline",
        "IntegrityError",
        "UPDATE ft_resource SET size = -1 WHERE resource_id = 2",
    ),
    (
        "T11-size-zero",
        "table.resource table.inline",
        "IntegrityError",
        "UPDATE ft_resource SET size = 0 WHERE resource_id = 2",
    ),
    (
        "T11-size-huge",
        "table.resource resources.contents",
        "IntegrityError",
        "UPDATE ft_resource SET size = 17592186044417 WHERE resource_id = 2",
    ),
    (
        "T11-inline-size",
        "table.inline-content",
        "IntegrityError",
        "UPDATE ft_resource SET size = 7 WHERE resource_id = 1",
    ),
    (
        "T11-inline-bytes",
        "table.inline-content",
        "IntegrityError",
        "UPDATE ft_resource SET contents = x'68656c6c6f21' WHERE resource_id = 1",
    ),
    (
        "T11-not-inlined",
        "table.inline resources.contents",
        "TableError",
        "UPDATE ft_resource SET contents = NULL WHERE resource_id = 1",
    ),
    (
        "T11-no-empty-row",
        "table.empty-resource",
        "IntegrityError",
        "DELETE FROM ft_regular WHERE resource_id = 0",
        "DELETE FROM ft_resource WHERE resource_id = 0",
    ),
    (
        "T11-empty-not-inlined",
        "table.empty-resource table.inline",
        "IntegrityError",
        "UPDATE ft_resource SET contents = NULL WHERE resource_id = 0",
    ),
    (
        "T11-too-large-inlined",
        "table.inline",
        "TableError",
        ("UPDATE ft_resource SET contents = ? WHERE resource_id = 2", (forge.MEMBERS[0],)),
    ),
    (
        "T12-not-in-resource-table",
        "resources.contents",
        "IntegrityError",
        "UPDATE ft_resource SET digest = randomblob(32) WHERE resource_id = 2",
    ),
    (
        "T12-another-size",
        "resources.contents",
        "IntegrityError",
        "UPDATE ft_resource SET size = 101 WHERE resource_id = 2",
    ),
    ("T7-target-null", "table.target", "TableError", "UPDATE ft_non_regular SET meta = NULL WHERE path = '/etc/link'"),
    ("T7-target-empty", "table.target", "TableError", "UPDATE ft_non_regular SET meta = x'' WHERE path = '/etc/link'"),
    (
        "T7-target-nul",
        "table.target",
        "TableError",
        "UPDATE ft_non_regular SET meta = x'610062' WHERE path = '/etc/link'",
    ),
    (
        "T7-target-not-utf-8",
        "table.target",
        "TableError",
        "UPDATE ft_non_regular SET meta = x'ff' WHERE path = '/etc/link'",
    ),
    (
        "T7-target-long",
        "table.target",
        "TableError",
        "UPDATE ft_non_regular SET meta = zeroblob(4096) WHERE path = '/etc/link'",
    ),
]


def _schema_cases() -> Iterator[Case]:
    changes: dict[str, Mutation] = {
        "extra-table": sql("CREATE TABLE extra (x)"),
        "extra-index": sql("CREATE INDEX extra ON ft_dir (path)"),
        "trigger": sql("CREATE TRIGGER extra AFTER INSERT ON ft_dir BEGIN SELECT 1; END"),
        "view": sql("CREATE VIEW extra AS SELECT 1"),
        "statistics": sql("ANALYZE"),
        "recursive-view": sql(
            "DROP TABLE ft_dir",
            "CREATE VIEW ft_dir AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
            " SELECT '/' || i AS path, i AS inode_id FROM n",
        ),
        "missing-index": sql("DROP INDEX fd_inode_id_index"),
        "extra-column": sql("ALTER TABLE ft_dir ADD COLUMN extra"),
        "generated": sql("ALTER TABLE ft_inode ADD COLUMN extra AS (uid + 1)"),
        "default": rewritten_schema("ft_inode", "links_count INTEGER", "links_count INTEGER DEFAULT 1"),
        "check": rewritten_schema("ft_inode", "uid INTEGER NOT NULL", "uid INTEGER NOT NULL CHECK (uid >= 0)"),
        "collation": rewritten_schema("ft_non_regular", "meta BLOB", "meta BLOB COLLATE NOCASE"),
        "not-null": rewritten_schema("ft_inode", "gid INTEGER NOT NULL", "gid INTEGER"),
        "comment": rewritten_schema("ft_inode", "gid INTEGER", "gid /* */ INTEGER"),
    }
    key, unique = "inode_id INTEGER PRIMARY KEY", "digest BLOB NOT NULL UNIQUE"
    for name, table, old, new in (
        ("quoted-primary", "ft_inode", key, 'inode_id INTEGER "PRIMARY" KEY'),
        ("bracketed-primary", "ft_inode", key, "inode_id INTEGER [PRIMARY] KEY"),
        ("backquoted-primary", "ft_inode", key, "inode_id INTEGER `PRIMARY` KEY"),
        ("single-quoted-primary", "ft_inode", key, "inode_id INTEGER 'PRIMARY' KEY"),
        ("quoted-not", "ft_inode", "uid INTEGER NOT NULL", 'uid INTEGER "NOT" NULL'),
        ("quoted-type", "ft_inode", key, 'inode_id "INTEGER" PRIMARY KEY'),
        ("descending", "ft_inode", key, "inode_id INTEGER PRIMARY KEY DESC"),
        ("autoincrement", "ft_inode", key, "inode_id INTEGER PRIMARY KEY AUTOINCREMENT"),
        ("conflict", "ft_inode", key, "inode_id INTEGER PRIMARY KEY ON CONFLICT REPLACE"),
        ("another-type", "ft_inode", key, "inode_id INT PRIMARY KEY"),
        ("folded-paths", "ft_regular", "path TEXT PRIMARY KEY", "path TEXT COLLATE NOCASE PRIMARY KEY"),
        ("with-rowid", "ft_dir", "WITHOUT ROWID", ""),
        ("strict", "ft_dir", "WITHOUT ROWID", "WITHOUT ROWID, STRICT"),
        ("foreign-key", "ft_dir", "inode_id INTEGER NOT NULL", "inode_id INTEGER NOT NULL REFERENCES ft_inode"),
        ("unique-lost", "ft_resource", unique, "digest BLOB NOT NULL"),
        ("unique-quoted", "ft_resource", unique, 'digest BLOB "UNIQUE" NOT NULL'),
    ):
        changes[name] = rebuilt(table, old, new)
    for name, column in {
        "partial": "(resource_id) WHERE resource_id > 0",
        "expression": "(+resource_id)",
        "descending": "(resource_id DESC)",
        "unique": "(resource_id, path)",
    }.items():
        new = "CREATE UNIQUE INDEX" if name == "unique" else "CREATE INDEX"
        changes[f"index-{name}"] = sql(
            "DROP INDEX fr_resource_id_index", f"{new} fr_resource_id_index ON ft_regular {column}"
        )
    for name, change in changes.items():
        yield Case(f"T1-{name}", frozenset({"table"}), "TableError", {"file_table": change})
    for name, new in {
        "unique-lost": "digest BLOB NOT NULL",
        "unique-quoted": 'digest BLOB "UNIQUE" NOT NULL',
        "digest-folded": "digest BLOB NOT NULL UNIQUE COLLATE NOCASE",
    }.items():
        change = rebuilt("rs_manifest", unique, new)
        yield case(f"T1-resource-table-{name}", "resources", "TableError", resource_table=change)
    yield case("T1-resource-table-view", "resources", "TableError", resource_table=sql("CREATE VIEW extra AS SELECT 1"))

    def header(offset: int, value: bytes) -> Mutation:
        return lambda raw: raw[:offset] + value + raw[offset + len(value) :]

    raws: dict[str, Mutation] = {
        "magic": header(0, b"X"),
        "page-size": header(16, b"\x20\x00"),
        "page-size-odd": header(16, b"\x10\x01"),
        "wal": header(18, b"\2\2"),
        "page-count": header(28, b"\0\0\0\x99"),
        "freelist": header(32, b"\0\0\0\2\0\0\0\1"),
        "utf-16": header(56, b"\0\0\0\2"),
        "empty": lambda _: b"",
        "truncated": lambda raw: raw[:-4096],
        "torn": lambda raw: raw[:-1],
        "longer": lambda raw: raw + bytes(4096),
        "no-sqlite": lambda _: b"no database at all " * 100,
    }
    for name, change in raws.items():
        yield Case(
            f"T2-{name}",
            frozenset({"table"}),
            "TableError",
            {"file_table_raw": change},
        )


def _type_cases() -> Iterator[Case]:
    """T4: a value of each storage class in each column, if SQLite allows it there."""
    wrong: dict[str, Any] = {"real": 1.5, "text": "text", "blob": b"\1", "integer": 7}
    columns = {
        "ft_inode": ("uid", "gid", "mode", "links_count", "xattrs"),
        "ft_regular": ("path", "inode_id", "resource_id"),
        "ft_non_regular": ("path", "inode_id", "meta"),
        "ft_dir": ("path", "inode_id"),
        "ft_resource": ("digest", "size", "contents"),
        "rs_manifest": ("digest", "size", "filter_applied", "meta"),
    }
    right = {
        "path": ("text",),
        "xattrs": ("blob",),
        "meta": ("blob",),
        "digest": ("blob",),
        "contents": ("blob",),
        "filter_applied": ("blob",),
    }
    for table, names in columns.items():
        for column in names:
            for kind, value in wrong.items():
                if kind in right.get(column, ("integer",)) or (column == "path" and kind in ("integer", "real")):
                    continue  # the right type, or one that SQLite converts
                change = sql(
                    (
                        f"UPDATE {table} SET {column} = ? WHERE rowid_of = 1".replace(
                            "WHERE rowid_of = 1", _one(table)
                        ),
                        (value,),
                    )
                )
                stage, rule = ("resource_table", "resources") if table == "rs_manifest" else ("file_table", "table")
                yield Case(f"T4-{table}-{column}-{kind}", frozenset({rule}), "TableError", {stage: change})


def _one(table: str) -> str:
    keys = {"ft_inode": "inode_id = 12", "ft_resource": "resource_id = 2", "rs_manifest": "resource_id = 12"}
    paths = {"ft_regular": "/etc/a", "ft_non_regular": "/etc/link", "ft_dir": "/bin"}
    return f"WHERE {keys[table]}" if table in keys else f"WHERE path = '{paths[table]}'"


def _xattr_cases() -> Iterator[Case]:
    pack: Callable[[Any], bytes] = msgpack.packb
    values = {
        "no-map": pack([1]),
        "empty-map": pack({}),
        "text-value": pack({"user.a": "text"}),
        "bytes-name": pack({b"user.a": b""}),
        "empty-name": pack({"": b""}),
        "nul": pack({"user.\0": b""}),
        "long-name": pack({"user." + "n" * 251: b""}),
        "twice": b"\x82" + pack("user.a") + pack(b"1") + pack("user.a") + pack(b"2"),
        "trailing": pack({"user.a": b""}) + b"\0",
        "truncated": pack({"user.a": b"value"})[:-1],
        "deep": b"\x81" * 2000,
        "packed-too-large": pack({f"user.{n}": bytes(60_000) for n in range(20)}),
        "capability-revision-3": pack({"security.capability": bytes(24)}),
        **{f"capability-{name}": pack({"security.capability": value}) for name, value in BAD_CAPABILITIES.items()},
        "capability-short": pack({"security.capability": b"\1\0\0\2" + bytes(15)}),
        "default-list-of-a-file": pack({"system.posix_acl_default": acl((0x01, 6), (0x04, 4), (0x20, 4))}),
        "list-out-of-order": pack({"system.posix_acl_access": acl((0x20, 4), (0x04, 4), (0x01, 6))}),
    }
    for name, value in values.items():
        change = sql(("UPDATE ft_inode SET xattrs = ? WHERE inode_id = 12", (value,)))
        yield Case(f"T15-{name}", frozenset({"table.xattrs"}), "TableError", {"file_table": change})
