"""A row of the resource table that is broken concerns the payloads that reach it, and no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from otabuild.comparison.cost import cost
from otabuild.image.image import open_image
from otabuild.report.usage import usage
from tests.image import forge, worlds
from tests.image.forge import sha256

Change = Callable[[sqlite3.Connection], object]
OTHER = [b"a content of sub only " * 40, b"another one " * 70]


def add_row(number: int, content: bytes, filter_: bytes | None, size: int | None = None) -> Change:
    def change(table: sqlite3.Connection) -> None:
        row = (number, sha256(content), len(content) if size is None else size, filter_)
        table.execute("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", row)

    return change


BROKEN: dict[str, Change] = {
    "slices that do not add up": add_row(90, OTHER[0], b"s:" + msgpack.packb([12])),
    "no such resource": add_row(90, OTHER[0], b"c:" + msgpack.packb([91, "zstd"])),
    "no such bundle": add_row(90, OTHER[0], b"b:" + msgpack.packb([91, 0, len(OTHER[0])])),
    "outside its bundle": add_row(90, OTHER[0], b"b:" + msgpack.packb([20, 100, len(OTHER[0])])),
    "its own frame": add_row(90, OTHER[0], b"c:" + msgpack.packb([90, "zstd"])),
    "unknown filter": add_row(90, OTHER[0], b"x:"),
    "missing blob": add_row(90, OTHER[0], None),
    "size out of range": add_row(90, OTHER[0], None, size=-1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_of_another_payload_blocks_nothing_else(name: str, tmp_path: Path) -> None:
    path = forge.forge(resource_table=BROKEN[name]).artifact(tmp_path / "image.zip")
    assert worlds.errors_of(path)  # verification judges the whole
    assert worlds.deploy_error(path, tmp_path / "tree.tar") is None
    with open_image(path) as image:
        assert cost(image, image, "main").changed == 0
        assert usage(image, [image.payload("main")]).largest


BREAKING: dict[str, str] = {
    "a bundled content": "UPDATE rs_manifest SET filter_applied = x'783a' WHERE resource_id = 1",
    "a bundle": "UPDATE rs_manifest SET filter_applied = x'783a' WHERE resource_id = 20",
    "the frame of a bundle": "UPDATE rs_manifest SET size = size + 1 WHERE resource_id = 10",
    "a frame in slices": "UPDATE rs_manifest SET filter_applied = x'783a' WHERE resource_id = 21",
    "a slice of a frame": "UPDATE rs_manifest SET size = -1 WHERE resource_id = 16",
    "a slice of a content": "DELETE FROM rs_manifest WHERE resource_id = 14",
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_broken_row_below_a_content_of_the_payload_is_refused(name: str, tmp_path: Path) -> None:
    path = forge.forge(resource_table=lambda table: table.execute(BREAKING[name])).artifact(tmp_path / "image.zip")
    assert worlds.deploy_error(path, tmp_path / "tree.tar")
