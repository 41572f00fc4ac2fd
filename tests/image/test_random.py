"""Random damage below valid digests: every image is refused with a named error, or deploys to the good tree."""

from __future__ import annotations

import functools
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.errors import MetaApplyError, OtabuildError
from tests.image import forge, worlds
from tests.image.forge import Mutation

_SAMPLE = 25
_SEEDS = [pytest.param(n, marks=() if n < _SAMPLE else pytest.mark.sweep) for n in range(200)]
_TABLES = ["file_table_raw", "resource_table_raw"]
_REDIGESTED = [*_TABLES, "file_table_frame", "resource_table_frame", "manifest_raw", "config_raw", "sys_config"]

Rows = dict[str, list[tuple[Any, ...]]]


def root(test: Callable[..., None]) -> Callable[..., None]:
    for mark in worlds.needs_root:
        test = mark(test)
    return test


def flipped(choice: random.Random, count: int = 1) -> Mutation:
    """Flip some bits anywhere."""

    def mutate(data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(count):
            position = choice.randrange(len(damaged) * 8)
            damaged[position // 8] ^= 1 << position % 8
        return bytes(damaged)

    return mutate


def torn(choice: random.Random) -> Mutation:
    """Overwrite a run of bytes of one page with noise, zeros, or a piece of another page."""

    def mutate(data: bytes) -> bytes:
        size = choice.choice((1, 2, 8, 60, 600))
        at, other = (choice.randrange(len(data) - size) for _ in range(2))
        part = choice.choice((choice.randbytes(size), bytes(size), data[other : other + size]))
        return data[:at] + part + data[at + size :]

    return mutate


def refused_or_right(path: Path, folder: Path, rows: Rows | None = None) -> None:
    """Verify and deploy: the tree must match the file table, and everything that verifies must be deployable."""
    folder.mkdir()
    is_good = not worlds.errors_of(path)
    try:
        tree = worlds.deployed(path, folder / "tree")
    except MetaApplyError:
        # The table may request what no file system here supports, such as an attribute in an unknown namespace.
        assert list(folder.iterdir()) == []
    except OtabuildError:
        assert not is_good
        assert list(folder.iterdir()) == []
    else:
        assert tree == worlds.expected_tree(rows)


def rows_of(raw: bytes) -> Rows:
    """Return the rows of a file table as plain SQLite reads them, without otabuild's checks."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(raw)
    try:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in forge.file_rows()}
    finally:
        connection.close()


@functools.cache
def good_files() -> tuple[tuple[str, bytes], ...]:
    return tuple(forge.forge().files)


def damaged(name: str, mutation: Mutation, path: Path) -> Path:
    """Write the good image with one file changed and nothing above it rebuilt."""
    files = [(each, mutation(data) if each == name else data) for each, data in good_files()]
    return forge.Forged(files).artifact(path)


def test_s1_every_flipped_bit_of_the_index_is_found(tmp_path: Path) -> None:
    choice = random.Random(1)
    for _ in range(200):
        path = damaged("index.json", flipped(choice), tmp_path / "image.zip")
        assert worlds.errors_of(path)
        assert worlds.deploy_error(path, tmp_path / "tree.tar") is not None


@pytest.mark.parametrize("number", range(len(good_files())), ids=lambda n: good_files()[n][0][-20:])
def test_flipped_bits_of_every_file_are_found(number: int, tmp_path: Path) -> None:
    name, data = good_files()[number]
    for seed in range(4 if data else 0):
        path = damaged(name, flipped(random.Random(seed)), tmp_path / "image.zip")
        assert worlds.errors_of(path), (name, seed)


@root
@pytest.mark.parametrize("seed", _SEEDS)
def test_flipped_bit_of_the_artifact(seed: int, tmp_path: Path) -> None:
    path = forge.Forged(list(good_files()), raw_mutation=flipped(random.Random(seed))).artifact(tmp_path / "image.zip")
    refused_or_right(path, tmp_path / "out")


@root
@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("stage", _REDIGESTED)
def test_t2_damage_below_good_digests(stage: str, seed: int, tmp_path: Path) -> None:
    choice = random.Random(f"{stage} {seed}")
    mutate = torn(choice) if stage.endswith("table_raw") and seed % 2 else flipped(choice)
    damaged_raw: list[bytes] = []

    def remember(data: bytes) -> bytes:
        damaged_raw.append(mutate(data))
        return damaged_raw[0]

    path = forge.forge(**{stage: remember}).artifact(tmp_path / "image.zip")
    try:
        rows = rows_of(damaged_raw[0]) if stage == "file_table_raw" else None
    except sqlite3.DatabaseError:
        assert worlds.errors_of(path)
    else:
        refused_or_right(path, tmp_path / "out", rows)


@pytest.mark.parametrize(
    ("stage", "index", "column"),
    [("file_table", "fr_resource_id_index", "inode_id"), ("file_table", "fnr_inode_id_index", "path")],
)
def test_t3_index_that_disagrees_with_its_table(stage: str, index: str, column: str, tmp_path: Path) -> None:
    def mutate(connection: sqlite3.Connection) -> None:
        ((sql,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchall()
        lie = sql.partition("(")[0] + f"({column})"
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (lie, index))
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(f"REINDEX {index}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, index))

    path = forge.forge(**{f"{stage}_raw": lambda raw: through_file(raw, mutate, tmp_path / "t.sqlite3")})
    assert worlds.errors_of(path.artifact(tmp_path / "image.zip")) == {"table"}


def through_file(raw: bytes, mutate: Mutation, path: Path) -> bytes:
    """Change a database in place, without a VACUUM, which would repair it."""
    path.write_bytes(raw)
    connection = sqlite3.connect(path, isolation_level=None)
    mutate(connection)
    connection.close()
    return path.read_bytes()
