"""The resource table: one SQLite database per image (section 7)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

TABLES = (
    """CREATE TABLE rs_manifest (
    resource_id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    filter_applied BLOB, meta BLOB)""",
)
INDEXES: tuple[str, ...] = ()
EARLY = (TABLES[0].replace(" UNIQUE", ""), "CREATE INDEX rst_digest_idx ON rs_manifest (digest)")
"""The schema that early builders wrote."""


class ResourceRow(NamedTuple):
    """A resource: its 32-byte digest, its size in bytes, and its packed filter; None for a blob."""

    resource_id: int
    digest: bytes
    size: int
    filter_applied: bytes | None


def insert(connection: sqlite3.Connection, rows: Iterable[ResourceRow]) -> None:
    """Insert rows. Sorted input produces the smallest file, and always the same one."""
    connection.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", rows)
