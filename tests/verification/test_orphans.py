"""Resources that no payload needs: they are noted, never rebuilt, and even very many take little memory."""

from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.image import forge, worlds
from tests.image.forge import Mutation, frame, sha256
from tests.verification.tampering import sql

Stage = tuple[dict[int, list[Any]], dict[bytes, bytes]]


def with_row(content: bytes, filter_: bytes | None = None) -> Mutation:
    def mutate(stage: Stage) -> None:
        rows, leaves = stage
        rows[60] = [60, sha256(content), len(content), filter_, None]
        if filter_ is None:
            leaves[sha256(content)] = content

    return mutate


@pytest.mark.parametrize("content", [forge.INLINE, b"", b"of no payload"])
def test_what_no_file_is_made_from_is_noted(content: bytes, tmp_path: Path) -> None:
    report = worlds.verified(forge.forge(resources=with_row(content)).artifact(tmp_path / "image"))
    assert [(finding.rule, finding.where) for finding in report.findings] == [
        ("resources.orphan", "resource table: resource 60")
    ]
    assert report.ok


def test_a_filter_that_names_no_row_needs_none_of_the_others(tmp_path: Path) -> None:
    """Of the rows, the second is the orphan."""

    def missing(stage: Stage) -> None:
        rows, _ = stage
        rows[4][3] = b"s:" + msgpack.packb([13, 999])

    unused = sql("DELETE FROM ft_regular WHERE path = '/etc/b'", "DELETE FROM ft_resource WHERE resource_id = 3")
    report = worlds.verified(forge.forge(resources=missing, file_table=unused).artifact(tmp_path / "image"))
    assert not report.ok
    assert ("resources.orphan", "resource table: resource 2") in {
        (finding.rule, finding.where) for finding in report.findings
    }


def test_nothing_is_an_orphan_beside_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    for broken in ({"file_table_raw": lambda _: b"no table"}, {"manifest": lambda value: value | {"layers": []}}):
        report = worlds.verified(forge.forge(**broken).artifact(tmp_path / "image"))
        assert not report.ok
        assert "resources.orphan" not in {finding.rule for finding in report.findings}


def test_an_orphan_is_not_rebuilt_but_its_blob_is_hashed(tmp_path: Path) -> None:
    packed = frame(bytes(1 << 20))

    def orphan(stage: Stage) -> None:
        rows, leaves = stage
        rows[60] = [60, sha256(packed), len(packed), None, None]
        rows[61] = [61, sha256(bytes(1 << 20)), 1 << 20, b"c:" + msgpack.packb([60, "zstd"]), None]
        leaves[sha256(packed)] = packed

    def damage(names: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data[:-1] + b"~" if data == packed else data for name, data in names.items()}

    report = worlds.verified(forge.forge(resources=orphan).artifact(tmp_path / "image"))
    assert {finding.rule for finding in report.findings} == {"resources.orphan"}
    assert report.counts["contents"] == 6
    assert worlds.errors_of(forge.forge(resources=orphan, blob_files=damage).artifact(tmp_path / "image")) == {"blob"}


def test_rows_that_are_wrong_take_no_memory(tmp_path: Path) -> None:
    def slices(connection: sqlite3.Connection) -> None:
        for row in range(5):
            ids = list(range(10**6 + row * 60_000, 10**6 + (row + 1) * 60_000))
            values = (1000 + row, sha256(b"%d" % row), 100, b"s:" + msgpack.packb(ids))
            connection.execute("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", values)
        rows = ((2000 + n, sha256(b"b%d" % n), 100, b"x") for n in range(5_000))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", rows)
        connection.execute("COMMIT")

    path = forge.forge(resource_table=slices).artifact(tmp_path / "image")
    tracemalloc.start()
    try:
        report = worlds.verified(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [finding.rule for finding in report.findings].count("resources.filters") == 21
    assert peak < 25 << 20


def test_of_many_contents_that_fail_the_first_are_told(tmp_path: Path) -> None:
    contents = [b"the content of number %d " % n * 4 for n in range(30)]

    def rows(stage: Stage) -> None:
        for number, content in enumerate(contents, 100):
            stage[0][number] = [number, sha256(content), len(content), None, None]
            stage[1][sha256(content)] = content

    def files(connection: sqlite3.Connection) -> None:
        for number, content in enumerate(contents, 100):
            connection.execute("INSERT INTO ft_resource VALUES (?,?,?,NULL)", (number, sha256(content), len(content)))

    def damage(names: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data[:-1] + b"~" if data in contents else data for name, data in names.items()}

    path = forge.forge(resources=rows, file_table=files, blob_files=damage).artifact(tmp_path / "image")
    found = [finding for finding in worlds.verified(path).findings if finding.rule == "content"]
    assert len(found) == 21
    assert found[-1].what == "and more of the same"
    assert [finding.where for finding in found] == sorted(finding.where for finding in found)
