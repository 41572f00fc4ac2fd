"""Checks that the schema of a table is exactly that of the format (sections 6 and 7).

Statements are compared in a normal form that ignores case, white space, quotes and the word order within a column, and
nothing else. A check, a default, a collation, a generated column or a view makes a different schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from otabuild.errors import TableError

_TOKEN = re.compile(r"""[A-Za-z_][A-Za-z0-9_]*|"[^"]*"|`[^`]*`|\[[^]]*\]|\S""")
_INDEX_OF_UNIQUE = re.compile(r"sqlite_autoindex_(ft_resource|rs_manifest)_1")

Form = tuple[tuple[str, ...], ...]


def normal_form(statement: str) -> Form:
    """Split a CREATE statement at parentheses and commas, and sort all but the first two words of each part."""
    parts: list[list[str]] = [[]]
    for word in _TOKEN.findall(statement):
        if word in "(),":
            parts += [[word], []]
        else:
            parts[-1].append(word.strip('"`[]').lower())
    return tuple((*part[:2], *sorted(part[2:])) for part in parts if part)


def check_schema(objects: Iterable[tuple[str, str | None]], expected: Iterable[str], where: str) -> None:
    """Check the (name, sql) pairs of a database's sqlite_master against the statements that should have created it.

    Raises:
        TableError: something is missing, differs, or was added.
    """
    due = {normal_form(statement): statement for statement in expected}
    for name, sql in objects:
        if sql is None and _INDEX_OF_UNIQUE.fullmatch(name):
            continue
        form = normal_form(sql or "")
        if due.pop(form, None) is None or name not in form[0]:
            raise TableError("a schema that is not the format's", where=f"{where}: {name}", observed=sql)
    if due:
        raise TableError("a part of the schema is missing", where=where, expected=next(iter(due.values())))


def type_checks(statements: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield, for each table that these statements create, its name and a query for a row with values of a wrong type.

    SQLite itself allows any type in any column. The query returns the row's key and the types found. For a valid table,
    it returns no row.
    """
    for statement in statements:
        form = normal_form(statement)
        if form[0][:2] != ("create", "table"):
            continue
        columns = [part for part in form[1:] if len(part) > 1 and part[0] != "without"]
        found = " || ' ' || ".join(f"typeof({name})" for name, *_ in columns)
        wrong = " OR ".join(f"typeof({name}) NOT IN {_types(kind, words)}" for name, kind, *words in columns)
        yield form[0][2], f"SELECT {columns[0][0]}, {found} FROM {form[0][2]} NOT INDEXED WHERE {wrong} LIMIT 1"  # noqa: S608 all names are the format's


def _types(kind: str, words: list[str]) -> str:
    required = {"not", "primary"} & set(words)
    return f"('{kind}')" if required else f"('{kind}', 'null')"
