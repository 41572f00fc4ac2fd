"""Checks that the schema of a table is exactly that of the format (sections 6 and 7).

It is compared twice. The statements are compared in a normal form that ignores case, white space,
quotes around names and the word order within a column, and nothing else: a check, a default, a
collation, a generated column or a view makes a different schema. What SQLite understands of them is
compared as well, because a word may look like another: to SQLite, `INTEGER "PRIMARY" KEY` is the
name of a type. And a column whose values must differ is counted, not believed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

from otabuild.errors import TableError

_TOKEN = re.compile(r"""[A-Za-z_][A-Za-z0-9_]*|"[^"]*"|`[^`]*`|\[[^]]*\]|\S""")
_KEYWORDS = frozenset(
    [
        "create",
        "table",
        "index",
        "on",
        "integer",
        "text",
        "blob",
        "primary",
        "key",
        "not",
        "null",
        "unique",
        "without",
        "rowid",
    ]
)
_INDEX_OF_UNIQUE = re.compile(r"sqlite_autoindex_(ft_resource|rs_manifest)_1")

Form = tuple[tuple[str, ...], ...]
Query = Callable[[str], Iterable[tuple[Any, ...]]]
"""Runs a statement and returns its rows."""


def normal_form(statement: str) -> Form:
    """Split a CREATE statement at parentheses and commas; sort all but two words of each part."""
    parts: list[list[str]] = [[]]
    for word in _TOKEN.findall(statement):
        if word in "(),":
            parts += [[word], []]
        else:
            parts[-1].append(_plain(word))
    return tuple((*part[:2], *sorted(part[2:])) for part in parts if part)


def _plain(word: str) -> str:
    """Return a word in lower case without quotes; a keyword keeps them, as it is a name then."""
    inner = word.strip('"`[]').lower()
    return word if inner in _KEYWORDS and len(inner) != len(word) else inner


def check_schema(query: Query, statements: Iterable[str], where: str) -> None:
    """Check the schema of a database against the statements that should have created it.

    Raises:
        TableError: something is missing, differs, or was added.
    """
    statements = tuple(statements)
    due = {normal_form(statement): statement for statement in statements}
    for name, sql in query("SELECT name, sql FROM sqlite_master"):
        # SQLite makes such an index for UNIQUE by itself, and keeps no statement of it.
        if sql is None and isinstance(name, str) and _INDEX_OF_UNIQUE.fullmatch(name):
            continue
        form = normal_form(sql) if isinstance(sql, str) else ()
        if due.pop(form, None) is None or name not in form[0]:
            raise TableError(
                "a schema that is not the format's", where=f"{where}: {name}", observed=sql
            )
    if due:
        raise TableError(
            "a part of the schema is missing", where=where, expected=next(iter(due.values()))
        )
    with closing(sqlite3.connect(":memory:")) as reference:
        for statement in statements:
            reference.execute(statement)
        for table, _ in _tables(statements):
            observed, expected = _understood(query, table), _understood(reference.execute, table)
            if observed != expected:
                what = "a schema that SQLite understands in another way than the format"
                raise TableError(
                    what, where=f"{where}: {table}", observed=observed, expected=expected
                )


def _tables(statements: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the name of each created table, and of its columns name, type and other words."""
    for (verb, kind, name, *_), *parts in map(normal_form, statements):
        if (verb, kind) == ("create", "table"):
            yield name, [part for part in parts if len(part) > 1 and part[0] != "without"]


def _understood(query: Query, table: str) -> tuple[object, ...]:
    """Return the columns, indexes and foreign keys of a table according to SQLite.

    A column has its name, type, whether it may be NULL, default, place in the primary key, and
    whether it is generated. An index has whether it is unique, what made it (`c`, `u`, `pk`),
    whether it is partial, and its columns with order and collation. The latter also tell a table
    WITHOUT ROWID, whose primary key holds all columns.
    """
    columns = [
        tuple(map(_lower, facts)) for _number, *facts in query(f"PRAGMA table_xinfo({table})")
    ]
    indexes = []
    for _, name, unique, origin, partial in query(f"PRAGMA index_list({table})"):
        quoted = str(name).replace('"', '""')
        parts = [
            tuple(map(_lower, facts))
            for _number, *facts in query(f'PRAGMA index_xinfo("{quoted}")')
        ]
        indexes.append((unique, origin, partial, parts))
    return columns, sorted(indexes), list(query(f"PRAGMA foreign_key_list({table})"))


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def check_unique(query: Query, statements: Iterable[str], where: str) -> None:
    """Count that no two rows share a value of a column that is a primary key or unique.

    Raises:
        TableError: two rows do.
    """
    for table, columns in _tables(statements):
        for name, _type, *words in columns:
            if not {"primary", "unique"} & set(words):
                continue
            # The plus sign keeps SQLite from believing that the values differ anyway.
            twice = f"GROUP BY +{name} HAVING count(*) > 1 LIMIT 1"
            sql = f"SELECT +{name} FROM {table} NOT INDEXED {twice}"  # noqa: S608 all names are the format's
            for (value,) in query(sql):
                shown = value.hex() if isinstance(value, bytes) else repr(value)
                what = f"two rows with one {name}, which must be unique"
                raise TableError(what, where=f"{where}: {table}", observed=shown)


def type_checks(statements: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each created table, and a query for a row with values of a wrong type.

    SQLite itself allows any type in any column. The query returns the row's key and the types
    found. For a valid table, it returns no row.
    """
    for table, columns in _tables(statements):
        key, *_ = columns[0]
        found = " || ' ' || ".join(f"typeof({name})" for name, *_ in columns)
        wrong = " OR ".join(
            f"typeof({name}) NOT IN {_types(kind, words)}" for name, kind, *words in columns
        )
        sql = f"SELECT {key}, {found} FROM {table} NOT INDEXED WHERE {wrong} LIMIT 1"  # noqa: S608 all names are the format's
        yield table, sql


def _types(kind: str, words: list[str]) -> str:
    required = {"not", "primary"} & set(words)
    return f"('{kind}')" if required else f"('{kind}', 'null')"
