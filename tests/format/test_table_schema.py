"""The schema of a table is what SQLite understands of it, and what is unique is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from otabuild.errors import TableError
from otabuild.format import file_table, resource_table, table_schema
from otabuild.format.table_schema import check_schema, check_unique

FILES = (*file_table.TABLES, *file_table.INDEXES)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def create(database: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        database.execute(statement)


@pytest.mark.parametrize("statements", [FILES, resource_table.TABLES])
def test_what_we_write_passes(database: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    create(database, statements)
    check_schema(database.execute, statements, "table")
    check_unique(database.execute, statements, "table")


def test_quotes_around_names_case_and_order_within_a_column_do_not_matter(database: sqlite3.Connection) -> None:
    create(
        database,
        (
            """create table "rs_manifest" ([resource_id] integer primary key, `digest` blob unique not null,
            "size" integer not null, filter_applied BLOB, meta BLOB)""",
        ),
    )
    check_schema(database.execute, resource_table.TABLES, "table")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("INTEGER PRIMARY KEY", 'INTEGER "PRIMARY" KEY'),
        ("INTEGER PRIMARY KEY", "INTEGER [PRIMARY] KEY"),
        ("INTEGER PRIMARY KEY", "INTEGER `PRIMARY` KEY"),
        ("NOT NULL UNIQUE", 'NOT NULL "UNIQUE"'),
        ("NOT NULL UNIQUE", "NOT NULL"),
        ("UNIQUE", "UNIQUE COLLATE NOCASE"),
        ("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"),
    ],
)
def test_what_sqlite_understands_in_another_way_is_found(database: sqlite3.Connection, old: str, new: str) -> None:
    try:
        create(database, (resource_table.TABLES[0].replace(old, new),))
    except sqlite3.OperationalError:
        return  # SQLite does not take it either
    with pytest.raises(TableError):
        check_schema(database.execute, resource_table.TABLES, "table")


@pytest.mark.parametrize("word", ['"PRIMARY"', "[PRIMARY]", "`PRIMARY`"])
def test_sqlite_is_asked_even_if_the_text_looks_right(
    database: sqlite3.Connection, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_schema, "_KEYWORDS", frozenset())
    create(database, (resource_table.TABLES[0].replace("PRIMARY", word),))
    with pytest.raises(TableError, match="understands in another way"):
        check_schema(database.execute, resource_table.TABLES, "table")


@pytest.mark.parametrize("column", ["resource_id", "digest"])
def test_values_that_must_differ_are_counted(database: sqlite3.Connection, column: str) -> None:
    database.execute("CREATE TABLE rs_manifest (resource_id INTEGER, digest BLOB, size INTEGER)")
    rows = [(1, b"a", 1), (1 if column == "resource_id" else 2, b"a" if column == "digest" else b"b", 1)]
    database.executemany("INSERT INTO rs_manifest VALUES (?,?,?)", rows)
    with pytest.raises(TableError, match=f"two rows with one {column}"):
        check_unique(database.execute, resource_table.TABLES, "table")


@pytest.mark.parametrize("table", ["ft_regular", "ft_non_regular", "ft_dir", "ft_inode", "ft_resource"])
def test_rows_of_each_table_are_counted(database: sqlite3.Connection, table: str) -> None:
    plain = {"PRIMARY KEY": "", "UNIQUE": "", "WITHOUT ROWID": "", "NOT NULL": ""}
    for statement in file_table.TABLES:
        text = statement
        for word, nothing in plain.items():
            text = text.replace(word, nothing)
        database.execute(text)
    columns = len(database.execute(f"PRAGMA table_info({table})").fetchall())
    for _ in range(2):
        database.execute(f"INSERT INTO {table} VALUES ({','.join('1' * columns)})")
    with pytest.raises(TableError, match="which must be unique"):
        check_unique(database.execute, FILES, "table")
