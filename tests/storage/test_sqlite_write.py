"""A database is a function of its rows: constants in its header, no free pages (sections 6 and 7)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from otabuild.errors import StorageError
from otabuild.storage.sqlite_write import writing_database


def written(path: Path, rows: int = 10, page_size: int = 4096, row: int | None = None) -> bytes:
    with writing_database(str(path), ["CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)"], page_size=page_size) as db:
        db.executemany("INSERT INTO t VALUES (?, ?)", ((n if row is None else row, bytes(100)) for n in range(rows)))
    return path.read_bytes()


def number(raw: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(raw[offset : offset + size], "big")


def test_the_header(tmp_path: Path) -> None:
    raw = written(tmp_path / "db", rows=100)
    assert raw[:16] == b"SQLite format 3\0"
    assert number(raw, 16, 2) == 4096
    assert (raw[18], raw[19], raw[20]) == (1, 1, 0)  # journal mode DELETE for writers and readers; no reserved space
    assert number(raw, 24) == 1  # change counter
    assert number(raw, 28) * 4096 == len(raw)
    assert number(raw, 32) == number(raw, 36) == 0  # free pages
    assert number(raw, 44) == 4  # schema format
    assert number(raw, 52) == 0  # no auto-vacuum
    assert number(raw, 56) == 1  # UTF-8
    assert number(raw, 92) == 1  # the change counter for which the version is valid
    assert number(raw, 96) == 3_040_001  # the same whatever library wrote it


@pytest.mark.parametrize("page_size", [512, 1024, 4096])
def test_pages_have_the_wanted_size(tmp_path: Path, page_size: int) -> None:
    assert number(written(tmp_path / "db", page_size=page_size), 16, 2) == page_size


def test_deleted_rows_leave_nothing(tmp_path: Path) -> None:
    with writing_database(str(tmp_path / "a"), ["CREATE TABLE t (b BLOB)"], page_size=4096) as db:
        db.executemany("INSERT INTO t VALUES (?)", ((b"secret" * 1000,) for _ in range(50)))
        db.execute("DELETE FROM t")
    raw = (tmp_path / "a").read_bytes()
    assert len(raw) == 2 * 4096
    assert b"secret" not in raw


def test_the_same_rows_are_the_same_bytes_even_over_an_older_file(tmp_path: Path) -> None:
    first = written(tmp_path / "a")
    written(tmp_path / "b", rows=500)
    assert written(tmp_path / "b") == first


def test_an_error_inside_passes_and_the_file_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        written(tmp_path / "a", row=1)
    assert number((tmp_path / "a").read_bytes(), 96) != 3_040_001


def test_what_sqlite_cannot_write_is_a_storage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="cannot write a database") as caught,
        writing_database(str(tmp_path / "a"), ["CREATE nonsense"], page_size=4096),
    ):
        pass
    assert caught.value.where == str(tmp_path / "a")
    assert "syntax error" in str(caught.value.observed)
    assert caught.value.hint.startswith("free some space on the disk of /")


def test_a_reader_sees_every_row(tmp_path: Path) -> None:
    written(tmp_path / "db", rows=7)
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("SELECT count(*), sum(n) FROM t").fetchone() == (7, 21)
