"""The schema of a table is what SQLite understands of it, and what is unique is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from otabuild.errors import TableError
from otabuild.format import file_table, resource_table, table_schema
from otabuild.format.table_schema import check_schema, check_unique, type_checks

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


@pytest.mark.parametrize("sql", [b"CREATE TABLE rs_manifest", 5, None, "", "CREATE TABLE other (a)"])
def test_a_schema_that_is_no_statement_of_the_format(sql: object) -> None:
    with pytest.raises(TableError, match="table: x: a schema that is not the format's"):
        check_schema(lambda _: [("x", sql)], resource_table.TABLES, "table")


def test_a_schema_that_lacks_a_part(database: sqlite3.Connection) -> None:
    with pytest.raises(TableError, match="table: a part of the schema is missing"):
        check_schema(database.execute, resource_table.TABLES, "table")
    create(database, FILES[:-1])
    with pytest.raises(TableError, match=r"a part of the schema is missing .*fd_inode_id_index"):
        check_schema(database.execute, FILES, "table")


GOOD = {
    "ft_inode": (1, 0, 0, 33188, None, None),
    "ft_regular": ("/a", 1, None),
    "ft_non_regular": ("/b", 1, None),
    "ft_dir": ("/", 1),
    "ft_resource": (1, b"d", 5, None),
    "rs_manifest": (1, b"d", 5, None, None),
}
"""A row of each table with a NULL wherever it may be."""


@pytest.mark.parametrize("table", GOOD)
def test_the_types_of_values_are_those_of_the_format(database: sqlite3.Connection, table: str) -> None:
    statements = (*file_table.TABLES, *resource_table.TABLES)
    create(database, statements)
    queries = dict(type_checks(statements))
    assert list(queries) == list(GOOD)
    marks = ",".join("?" * len(GOOD[table]))
    database.execute(f"INSERT INTO {table} VALUES ({marks})", GOOD[table])
    assert database.execute(queries[table]).fetchall() == []
    for column in range(len(GOOD[table])):
        for wrong in (1.5, "text", b"blob", 7):
            if isinstance(wrong, type(GOOD[table][column])):
                continue
            row = [*GOOD[table][:column], wrong, *GOOD[table][column + 1 :]]
            database.execute(f"DELETE FROM {table}")
            try:
                database.execute(f"INSERT INTO {table} VALUES ({marks})", row)
            except sqlite3.IntegrityError:
                continue  # SQLite itself holds the key of rows to be a number
            stored = database.execute(f"SELECT * FROM {table}").fetchone()
            found = database.execute(queries[table]).fetchall()
            kinds = " ".join(
                {int: "integer", float: "real", str: "text", bytes: "blob"}.get(type(v), "null") for v in stored
            )
            assert found in ([], [(stored[0], kinds)])
            assert bool(found) == (column_type(database, table, column) != kinds.split()[column])


def column_type(database: sqlite3.Connection, table: str, column: int) -> str:
    declared: str = database.execute(f"PRAGMA table_info({table})").fetchall()[column][2]
    return declared.lower()
