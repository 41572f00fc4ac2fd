"""Databases from elsewhere: what is refused, and what a statement may not do."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabuild.errors import LimitError, TableError
from otabuild.storage.sqlite_read import Database, open_database
from tests.storage.databases import make

_COUNT_FOR_EVER = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


def poked(raw: bytes, offset: int, form: str, *values: int) -> bytes:
    packed = struct.pack(form, *values)
    return raw[:offset] + packed + raw[offset + len(packed) :]


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    return make(tmp_path / "good.sqlite3")


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41", "a b", "ä&mode=rw"])
def test_a_folder_for_temporary_files_of_any_name(
    name: str, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    make(tmp_path / "a", "CREATE TABLE t (a, b); INSERT INTO t VALUES (3, 'another file');")
    monkeypatch.setattr(tempfile, "tempdir", f"/{tmp_path / name}")
    database = open_database([good], "t")
    assert list(database.query("SELECT a, b FROM t")) == [(1, "x"), (2, "y")]
    database.close()
    assert list((tmp_path / name).iterdir()) == []


def test_rows_come_in_any_parts(good: bytes) -> None:
    for part in (1, 100, len(good)):
        database = open_database((good[i : i + part] for i in range(0, len(good), part)), "t")
        assert list(database.query("SELECT a, b FROM t WHERE a >= ? ORDER BY a", (1,))) == [(1, "x"), (2, "y")]
        database.check_integrity()
        database.close()


@pytest.mark.parametrize(
    "lie",
    [
        lambda raw: raw[:0],
        lambda raw: b"no database" * len(raw),
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + bytes(4096),
        lambda raw: poked(raw, 16, ">H", 1000),
        lambda raw: poked(raw, 16, ">H", 256),
        lambda raw: poked(raw, 18, "BB", 2, 2),
        lambda raw: poked(raw, 28, ">I", 9),
        lambda raw: poked(raw, 56, ">I", 2),
    ],
    ids=["empty", "text", "cut", "half", "tail", "size", "small-page", "wal", "pages", "utf-16"],
)
def test_t2_header_that_lies_is_refused(lie: Callable[[bytes], bytes], good: bytes) -> None:
    with pytest.raises(TableError):
        open_database([lie(good)], "t")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (3, 'z')",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u (a)",
        "ATTACH ':memory:' AS other",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('x')",
    ],
)
def test_statement_that_does_more_than_read_is_refused(statement: str, good: bytes) -> None:
    database = open_database([good], "t")
    with pytest.raises(TableError):
        list(database.query(statement))
    database.close()


def test_t1_statement_without_end_is_stopped(good: bytes) -> None:
    database = open_database([good], "t")
    with pytest.raises(LimitError):
        list(database.query(_COUNT_FOR_EVER))
    with pytest.raises(LimitError):  # the budget applies to the table, not to one statement
        list(database.query(_COUNT_FOR_EVER))
    database.close()


def test_t3_index_that_disagrees_is_found_by_the_integrity_check(tmp_path: Path) -> None:
    script = """CREATE TABLE t (a, b); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1, 9), (2, 8);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE INDEX i ON t (b)' WHERE name = 'i';"""
    database = open_database([make(tmp_path / "t", script)], "t")
    with pytest.raises(TableError, match="integrity"):
        database.check_integrity()
    database.close()


@pytest.mark.parametrize("is_good", [True, False])
def test_no_file_is_left(is_good: bool, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    opened: list[Database] = []
    try:
        opened.append(open_database([good if is_good else good[:-1]], "t"))
    except TableError:
        assert not is_good
    assert os.listdir(folder) == []
    for database in opened:
        assert len(list(database.query("SELECT * FROM t"))) == 2
        database.close()


def test_a_kill_while_it_is_written_leaves_no_file(
    good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def parts() -> Iterator[bytes]:
        yield good[:100]
        assert os.listdir(folder) == []
        yield good[100:]

    database = open_database(parts(), "t")
    assert len(list(database.query("SELECT * FROM t"))) == 2
    database.close()


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
def test_pages_of_every_size(page_size: int, tmp_path: Path) -> None:
    script = f"PRAGMA page_size = {page_size}; CREATE TABLE t (a, b); INSERT INTO t VALUES (1, zeroblob(100000));"
    database = open_database([make(tmp_path / "t", script)], "t")
    database.check_integrity()
    assert list(database.query("SELECT a, length(b) FROM t")) == [(1, 100_000)]
    database.close()


def test_a_table_for_which_sqlite_gets_no_memory_says_what_to_do(tmp_path: Path) -> None:
    script = "CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB); INSERT INTO t VALUES (1, zeroblob(4000000));"
    (tmp_path / "table").write_bytes(make(tmp_path / "t", script))
    program = """
import sqlite3, sys
from otabuild.errors import TableError
from otabuild.storage.sqlite_read import open_database
database = open_database([open(sys.argv[1], "rb").read()], "t")
sqlite3.connect(":memory:").execute("PRAGMA hard_heap_limit = 1000000").fetchall()
try:
    list(database.query("SELECT a, b FROM t"))
except TableError as error:
    print(error)
"""  # the limit is one of the whole process, and cannot be lifted again
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "table")], capture_output=True, text=True, check=True
    )
    assert "t: the table needs more memory than there is" in done.stdout
    assert "get this image again" in done.stdout
    assert "OTABUILD_JOBS" not in done.stdout
