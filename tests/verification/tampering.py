"""The cases of the tamper sweep, and small tools to make them."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import pytest

from otabuild import findings
from tests.image.forge import Mutation


class Case(NamedTuple):
    """A tampered image: mutations by stage, the rules that find it, and the class of deployment's error."""

    name: str
    rules: frozenset[str]
    deploy: str | None
    mutations: dict[str, Mutation]


def sql(*statements: str | tuple[str, tuple[Any, ...]]) -> Mutation:
    """Change a table by statements, with or without parameters."""

    def mutate(connection: sqlite3.Connection) -> None:
        for statement in statements:
            if isinstance(statement, str):
                connection.executescript(statement)
            else:
                connection.execute(*statement)

    return mutate


def rewritten_schema(name: str, old: str, new: str) -> Mutation:
    """Change the schema of an object without SQLite's checks."""

    def mutate(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name))
        connection.execute("PRAGMA writable_schema = RESET")

    return mutate


def rebuilt(name: str, old: str, new: str) -> Mutation:
    """Make a table again from changed SQL, with its rows and indexes, so that SQLite itself finds nothing wrong."""

    def mutate(connection: sqlite3.Connection) -> None:
        query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type DESC"
        table, *indexes = [row[0] for row in connection.execute(query, (name,))]
        assert old in table
        connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {name}")
        connection.execute(f"DROP TABLE {name}")
        for statement in (table.replace(old, new), *indexes):
            connection.execute(statement)
        connection.execute(f"INSERT INTO {name} SELECT * FROM temp.kept")
        connection.execute("DROP TABLE temp.kept")
        connection.commit()

    return mutate


def put(path: str, value: Any) -> Mutation:
    """Set a key of a JSON document, given as `a/b/0/c`; a value of `...` removes it."""

    def mutate(document: Any) -> None:
        *folders, last = path.split("|")
        for part in folders:
            document = document[int(part) if isinstance(document, list) else part]
        key = int(last) if isinstance(document, list) else last
        if value is ...:
            del document[key]
        else:
            document[key] = value

    return mutate


def case(name: str, rules: str, deploy: str | None, **mutations: Mutation) -> Case:
    return Case(name, frozenset(rules.split()), deploy, mutations)


def constant(value: Any) -> Mutation:
    """Replace the stage by a value."""
    return lambda _: value


def without_rule(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """Take a rule out of the registry. (To delete and restore its key would change the order of the rules.)"""
    assert rule in findings.RULES
    monkeypatch.setattr(findings, "RULES", {id_: each for id_, each in findings.RULES.items() if id_ != rule})
