"""The database of a cache: what is in it, and when it is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing

from otabuild.errors import StateError, StorageError
from otabuild.storage import fs
from otabuild.storage.lock import check_ours

_SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (digest BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
    size INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS made (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashed (device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, digest BLOB NOT NULL, inline BLOB, seal BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID;
"""  # noqa: E501 older caches have these words
_APPLICATION_ID = 0x6F746133
_WRONG = """SELECT 1 FROM blobs
    WHERE typeof(digest) <> 'blob' OR typeof(size) <> 'integer' OR typeof(used) <> 'integer'
        OR typeof(pack) <> 'integer' OR typeof(offset) <> 'integer'
        OR offset NOT BETWEEN 0 AND 1 << 50"""


def open_database(path: str) -> sqlite3.Connection:
    """Open the database of a cache, or make it; discard it if it is damaged or of another version.

    Raises:
        StateError: it belongs to somebody else, or stays damaged.
        StorageError: it cannot be opened.
    """
    check_ours(path)
    for _attempt in (1, 2):
        try:
            with ExitStack() as undo:
                db = undo.enter_context(
                    closing(sqlite3.connect(path, timeout=30, check_same_thread=False))
                )
                _set_up(db)
                undo.pop_all()
                return db
        except sqlite3.DatabaseError as error:
            # A lock, or a disk that fails, says nothing of what is in it: only damage removes it.
            if (
                isinstance(error, sqlite3.OperationalError)
                and error.sqlite_errorcode != sqlite3.SQLITE_ERROR
            ):
                raise StorageError("cannot open the cache", where=path, observed=error) from None
            for suffix in ("", "-journal", "-wal"):
                fs.unlink(path + suffix, missing_ok=True)
    raise StateError("the cache database stays damaged", where=path, hint="remove it")


def _set_up(db: sqlite3.Connection) -> None:
    used = db.execute("SELECT 1 FROM sqlite_master").fetchone()
    if used and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise sqlite3.DatabaseError("not a cache of this version")
    db.execute("PRAGMA synchronous = OFF")  # a power cut costs the cache, never an image
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.executescript(_SCHEMA)
    tables = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")}
    wanted = {sql.replace("IF NOT EXISTS ", "").strip() for sql in _SCHEMA.split(";")} - {""}
    if (
        tables != wanted
        or db.execute("PRAGMA quick_check").fetchone()[0] != "ok"
        or db.execute(_WRONG).fetchone()
    ):
        raise sqlite3.DatabaseError("damaged")
