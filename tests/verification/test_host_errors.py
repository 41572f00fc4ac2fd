"""What fails on this host is an error of the host, never a finding: it says nothing about the image."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, StorageError
from otabuild.image.image import open_image
from otabuild.storage.sqlite_read import open_database
from tests import pki
from tests.image import forge


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host")
    pki.save(folder / "root.pem", pki.root())
    return forge.forge().artifact(folder / "image.zip")


def _run(image: Path, limit: Callable[[], None], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otabuild", *arguments],
        cwd=image.parent,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


def _no_space() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # a table takes more, a pipe is no file


_SORT = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100000)
    SELECT n, hex(zeroblob(50)) FROM number ORDER BY n * 7919 % 100003"""
VERIFY = ("verify", "--ca", "root.pem", "--at", "2026-01-01T00:00:00Z", "image.zip")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (VERIFY, 4),
        ((*VERIFY, "--shallow"), 4),
        (("verify", "--no-signature", "image.zip"), 4),
        (("verify-resources", "image.zip"), 4),
        (("deploy-image", "--image", "image.zip", "--ecu-id", "main", *VERIFY[1:5], "--to-tar", "tree.tar"), 1),
        (("lint", "image.zip"), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_no_space_for_a_table(arguments: tuple[str, ...], code: int, image: Path) -> None:
    done = _run(image, _no_space, *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert "cannot write a temporary file" in done.stderr
    assert "NOT VERIFIED" not in done.stderr
    assert not (image.parent / "tree.tar").exists()


def test_the_error_in_json(image: Path) -> None:
    done = _run(image, _no_space, *VERIFY, "--json")
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert found["error"]["what"] == "cannot write a temporary file"


@pytest.mark.parametrize("limit", [6, 7, 8, 9])
def test_too_few_descriptors_for_a_folder(limit: int, tmp_path: Path) -> None:
    pki.save(tmp_path / "root.pem", pki.root())
    image = forge.forge().directory(tmp_path / "image.zip")
    done = _run(image, partial(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, limit)), *VERIFY)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "Too many open files" in done.stderr


def test_a_file_that_no_folder_can_have(tmp_path: Path) -> None:
    """The name is in the image, so this is a finding about it."""
    path = forge.forge().directory(tmp_path / "image")
    with open_image(path) as image, pytest.raises(IntegrityError, match="missing"):
        b"".join(image.source.chunks("n" * 300))


def test_no_space_for_what_sqlite_sorts() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE one (id INTEGER)")
        database = open_database([connection.serialize()], "a table")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, old[1]))
    try:
        with closing(database), pytest.raises(StorageError, match="a table: SQLite could not read or write"):
            list(database.query(_SORT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
