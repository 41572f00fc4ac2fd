"""Opens SQLite databases from elsewhere as hostile input.

The steps are: header, read-only, hardened settings, integrity check, schema against a whitelist. A
budget of instructions limits what SQLite executes, so that no statement runs forever.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote

from otabuild.errors import LimitError, StorageError, TableError
from otabuild.storage import fs
from otabuild.storage.fs import storage_error

_MAGIC = b"SQLite format 3\0"
_STEP = 10_000
# Measured: our queries take under 10 instructions per byte of a table, and 100 million take about a
# second.
_BUDGET_BASE, _BUDGET_PER_BYTE = 20_000_000, 50
_SETTINGS = (
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA query_only = ON",
    # Nobody else has the file: look for changes once, not at each statement.
    "PRAGMA locking_mode = EXCLUSIVE",
)
_OF_THE_HOST = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN})
_ALLOWED = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_PRAGMAS = frozenset(
    {"integrity_check", "encoding", "table_xinfo", "index_list", "index_xinfo", "foreign_key_list"}
)


class Database:
    """A read-only connection; use `query` to read from it.

    Attributes:
        name: what it is, for messages.
        size: the size of the database in bytes.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, size: int, budget: int) -> None:
        self.connection = connection
        self.name = name
        self.size = size
        self._budget = budget
        connection.set_progress_handler(self._tick, _STEP)

    def _tick(self) -> int:
        self._budget -= _STEP
        return int(self._budget < 0)

    def query(self, sql: str, parameters: Iterable[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement.

        Raises:
            TableError: SQLite found the database malformed.
            LimitError: all statements so far took more instructions than a valid table needs.
            StorageError: this host failed, such as a disk without space for what SQLite sorts.
        """
        with self.guarded():
            # Not `yield from`: if a reader stops, it would close the cursor after the connection is
            # closed.
            for row in self.connection.execute(sql, tuple(parameters)):  # noqa: UP028 see above
                yield row

    def define(
        self, name: str, function: Callable[..., str | bytes | int | None], arguments: int = 1
    ) -> None:
        """Make a pure function of so many arguments available in statements."""
        self.connection.create_function(name, arguments, function, deterministic=True)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn the errors of SQLite into otabuild errors."""
        try:
            yield
        # The text of a message may not be UTF-8 either.
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._meaning(error) from None
        # SQLite could not get memory, which is often due to what the table claims.
        except MemoryError:
            hint = (
                "if memory is free (`free -m`, `ulimit -v`), the table is "
                "malformed: get this image again"
            )
            raise TableError(
                "the table needs more memory than there is", where=self.name, hint=hint
            ) from None

    def _meaning(self, error: Exception) -> BaseException:
        """Return the meaning of an SQLite error.

        SQLite also makes one of what a signal raises during a callback.
        """
        if fs.interrupted is not None:
            return fs.interrupted()
        if self._budget < 0:
            return LimitError("the table takes too long to read", where=self.name)
        # `_tick` did not return, it raised.
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return KeyboardInterrupt()
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _OF_THE_HOST:
            return StorageError(
                "SQLite could not read or write a temporary file", where=self.name, observed=error
            )
        what = "cannot be read" if isinstance(error, sqlite3.OperationalError) else "is malformed"
        return TableError(f"the table {what}", where=self.name, observed=error)

    def check_integrity(self) -> None:
        """Let SQLite check every page, row and index entry.

        Raises:
            TableError: something is wrong; the message has SQLite's text.
        """
        # quick_check does not notice an index that disagrees with its table.
        rows = [str(row[0]) for row in self.query("PRAGMA integrity_check(3)")]
        if rows != ["ok"]:
            raise TableError(
                "the integrity check of SQLite failed",
                where=self.name,
                observed="; ".join(rows)[:300],
            )

    def close(self) -> None:
        """Close the connection; this also frees its file."""
        self.connection.close()


def open_database(
    chunks: Iterable[bytes | memoryview], name: str, budget: int | None = None
) -> Database:
    """Open a database from its bytes.

    They are written to a private temporary file without a name, so a kill at any time leaves
    nothing of it behind.

    Args:
        chunks: the bytes of the database.
        name: what it is, for messages.
        budget: SQLite's instructions for all statements; default: what our queries of a table of
            this size need.

    Raises:
        TableError: not a plain SQLite database: wrong header, size, encoding or journal mode.
        StorageError: no space for the temporary file.
    """
    size = 0
    try:
        with ExitStack() as undo:
            file, connection = _open_nameless(undo)
            for chunk in chunks:
                file.write(chunk)
                size += len(chunk)
            file.flush()
            _check_header(os.pread(file.fileno(), 100, 0), size, name)
            default = _BUDGET_BASE + _BUDGET_PER_BYTE * size
            database = _harden(connection, name, size, default if budget is None else budget)
            undo.pop_all()
            file.close()
            return database
    except OSError as error:
        where = tempfile.tempdir or os.environ.get("TMPDIR", "the folder for temporary files")
        raise storage_error(error, "write a temporary file", where) from error


def _open_nameless(undo: ExitStack) -> tuple[BinaryIO, sqlite3.Connection]:
    """Return a file to write to, and a connection that reads it; both are closed by `undo`.

    SQLite opens files by path only, and resolves even the links below /proc. So it opens the file
    while that is empty and still has a name; to SQLite, what is written later comes from another
    process, and it looks for that. The folder is private, so that nobody can put a journal beside
    the file.
    """
    with fs.undisturbed():
        folder = tempfile.mkdtemp(prefix="otabuild-")
        try:
            path = os.path.join(folder, "table.sqlite3")
            file = undo.enter_context(open(path, "x+b"))  # noqa: SIM115 -- that is one
            uri = f"file:///{quote(path.lstrip('/'))}?mode=ro"
            connection = undo.enter_context(
                closing(sqlite3.connect(uri, uri=True, check_same_thread=False))
            )
            # The first statement opens the file.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            raise StorageError(
                "cannot open a temporary file", where=folder, observed=error
            ) from error
        finally:
            fs.remove_tree(folder)
    return file, connection


def _check_header(head: bytes, size: int, name: str) -> None:
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise TableError("not an SQLite database", where=name, observed=head[:16])
    page_size, writes, reads = struct.unpack_from(">HBB", head, 16)
    page_size = 65536 if page_size == 1 else page_size
    (pages,) = struct.unpack_from(">I", head, 28)
    (encoding,) = struct.unpack_from(">I", head, 56)
    if (writes, reads) != (1, 1):
        raise TableError(
            "not in journal mode DELETE", where=name, observed=(writes, reads), expected=(1, 1)
        )
    if page_size < 512 or page_size & (page_size - 1) or pages * page_size != size:
        raise TableError("page size and page count do not give its size", where=name, observed=size)
    if encoding != 1:
        raise TableError("text is not UTF-8", where=name, observed=encoding, expected=1)


def _harden(connection: sqlite3.Connection, name: str, size: int, budget: int) -> Database:
    for limit, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, 16 << 20),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (sqlite3.SQLITE_LIMIT_COLUMN, 100),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    ):
        connection.setlimit(limit, value)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_TRUSTED_SCHEMA, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
    database = Database(connection, name, size, budget)
    with database.guarded():
        for setting in _SETTINGS:
            connection.execute(setting)
    connection.set_authorizer(_authorize)
    return database


def _authorize(action: int, first: str | None, *_: str | None) -> int:
    allowed = action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
