"""Writes SQLite databases whose bytes depend on their rows, and hardly on the library.

Versions of SQLite may leave other bytes in the unused space of a page; the build report records the
version.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from otabuild.errors import StorageError
from otabuild.storage import fs

_CHANGE_COUNTER, _VERSION_VALID_FOR, _LIBRARY_VERSION = 24, 92, 96
_FIXED_COUNTER = (1).to_bytes(4, "big")
_FIXED_LIBRARY = (3_040_001).to_bytes(4, "big")
"""Replaces the library version in the header. Any constant works, as SQLite only reads it for file
format questions."""


@contextmanager
def writing_database(
    path: str, statements: Sequence[str], *, page_size: int
) -> Iterator[sqlite3.Connection]:
    """Create a new database; it includes what is inserted until the block ends.

    The file has journal mode DELETE and encoding UTF-8, no free pages, and constants in the header
    fields that describe the writing library. Insert sorted rows, one table after the other; then
    the same rows always produce the same bytes.

    Raises:
        StorageError: no space left, or the operating system failed.
    """
    fs.unlink(path, missing_ok=True)
    with (
        fs.change("create", path),
        _errors_as_ours(path),
        closing(sqlite3.connect(path, isolation_level=None)) as db,
    ):
        db.execute(f"PRAGMA page_size = {page_size}")
        db.execute("PRAGMA encoding = 'UTF-8'")
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA auto_vacuum = NONE")
        # Without it, old bytes stay in pages; how a library was built decides.
        db.execute("PRAGMA secure_delete = ON")
        db.execute("BEGIN")
        for statement in statements:
            db.execute(statement)
        yield db
        db.execute("COMMIT")
        db.execute("VACUUM")
    _normalise(path)


@contextmanager
def _errors_as_ours(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = (
            f"free some space on the disk of {fs.disk_of(path)}, or point "
            "the work directory elsewhere"
        )
        raise StorageError(
            "cannot write a database", where=path, observed=error, hint=hint
        ) from error


def _normalise(path: str) -> None:
    with fs.closing_fd(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
        fs.pwrite(fd, _FIXED_COUNTER, _CHANGE_COUNTER, path)
        fs.pwrite(fd, _FIXED_COUNTER + _FIXED_LIBRARY, _VERSION_VALID_FOR, path)
