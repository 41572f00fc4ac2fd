"""The resource table: one SQLite database for the image (specification, section 7)."""

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


class ResourceRow(NamedTuple):
    """A resource: 32-byte digest, size in bytes, and the packed filter that makes it; None where it is a blob."""

    resource_id: int
    digest: bytes
    size: int
    filter_applied: bytes | None


def insert(connection: sqlite3.Connection, rows: Iterable[ResourceRow]) -> None:
    """Insert rows; sorted input makes the smallest and the same file."""
    connection.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", rows)
