"""The rows of a file table, their ids, and the counts for the labels (sections 4 and 6)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from otabuild.assembly import file_table
from otabuild.assembly.file_table import TreeCounts, link_counts, write_file_table
from otabuild.assembly.tree import TreeRow
from otabuild.errors import InputError
from otabuild.format import annotations as ann
from otabuild.format import file_table as ft
from tests.assembly.worlds import FILE, FOLDER, LINK, blob, row, text

BIG = text(100)
TREE = [
    row("/", mode=FOLDER),
    row("/a", BIG),
    row("/copy", BIG),
    row("/empty", b""),
    row("/hard", b"shared", link=3),
    row("/hard2", b"shared", link=3),
    row("/link", mode=LINK),
    row("/lonely", b"alone", link=4),
    row("/white", mode=0o020000),
]


def tables(path: Path, rows: Sequence[TreeRow]) -> tuple[dict[str, list[tuple[object, ...]]], TreeCounts]:
    counts = write_file_table(str(path / "ft"), rows, link_counts(rows))
    names = ("inode", "regular", "non_regular", "dir", "resource")
    with closing(sqlite3.connect(path / "ft")) as db:
        assert db.execute("PRAGMA page_size").fetchone() == (4096,)
        return {name: db.execute(f"SELECT * FROM ft_{name}").fetchall() for name in names}, counts


def test_every_row_and_every_id(tmp_path: Path) -> None:
    found, _counts = tables(tmp_path, TREE)
    assert found["dir"] == [("/", 1)]
    assert found["regular"] == [
        ("/a", 2, 2),
        ("/copy", 3, 2),
        ("/empty", 4, 0),
        ("/hard", 5, 5),
        ("/hard2", 5, 5),
        ("/lonely", 7, 7),
    ]
    assert found["non_regular"] == [("/link", 6, b"target"), ("/white", 8, None)]
    assert found["resource"] == [
        (0, *blob(b""), b""),
        (2, *blob(BIG), None),
        (5, *blob(b"shared"), b"shared"),
        (7, *blob(b"alone"), b"alone"),
    ]
    assert found["inode"][4] == (5, 0, 7, FILE, 2, None)
    assert [inode[4] for inode in found["inode"]] == [None, None, None, None, 2, None, None, None]


def test_the_labels_count_what_is_there(tmp_path: Path) -> None:
    _tables, counts = tables(tmp_path, TREE)
    assert counts.labels() == {
        ann.BLOBS_COUNT: 1,
        ann.BLOBS_SIZE: 100,
        ann.ROOTFS_SIZE: 100 + 100 + 6 + 6 + 5,
        ann.REGULAR_COUNT: 6,
        ann.NON_REGULAR_COUNT: 2,
        ann.DIRS_COUNT: 1,
        ann.UNIQUE_COUNT: 4,
        ann.UNIQUE_SIZE: 100 + 6 + 5,
    }


def test_the_labels_add_up_what_there_is_two_of(tmp_path: Path) -> None:
    rows = [
        row("/", mode=FOLDER),
        row("/a", BIG),
        row("/b", text(200, 2)),
        row("/d", mode=FOLDER),
        row("/l1", mode=LINK),
        row("/l2", mode=LINK),
    ]
    counts = tables(tmp_path, rows)[1].labels()
    keys = (ann.DIRS_COUNT, ann.NON_REGULAR_COUNT, ann.BLOBS_COUNT, ann.BLOBS_SIZE, ann.UNIQUE_SIZE)
    assert [counts[key] for key in keys] == [2, 2, 2, 300, 300]


def test_an_inode_has_owner_mode_and_attributes(tmp_path: Path) -> None:
    found, _counts = tables(tmp_path, [row("/", mode=FOLDER, uid=5)._replace(xattrs=b"\x80")])
    assert found["inode"] == [(1, 5, 7, FOLDER, None, b"\x80")]


def test_an_empty_tree_has_the_empty_content(tmp_path: Path) -> None:
    found, counts = tables(tmp_path, [])
    assert found["resource"] == [(0, *blob(b""), b"")]
    assert counts == TreeCounts(unique=1)


@pytest.mark.parametrize(
    "other",
    [
        row("/b", b"x", link=0, uid=1),
        row("/b", b"y", link=0),
        row("/b", b"x", link=0, mode=FILE | 0o111),
        row("/b", b"x", link=0)._replace(xattrs=b"\x80"),
    ],
    ids=["owner", "content", "mode", "attributes"],
)
def test_hard_links_that_differ_are_refused(tmp_path: Path, other: TreeRow) -> None:
    with pytest.raises(InputError, match="hard links of one file differ") as caught:
        tables(tmp_path, [row("/a", b"x", link=0), other])
    assert caught.value.where == "/a and /b"
    assert caught.value.hint == "name both paths in the rule that changes one of them"


def test_rows_beyond_a_batch_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = [row(f"/{n:03}", text(70, n)) for n in range(50)]
    (tmp_path / "whole").mkdir()
    found, _counts = tables(tmp_path / "whole", tree)
    monkeypatch.setattr(file_table, "_BATCH", 7)
    assert tables(tmp_path, tree)[0] == found
    assert len(found["regular"]) == 50


def test_no_more_than_a_batch_waits_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def insert(db: sqlite3.Connection, kind: type[ft.Row], rows: Sequence[ft.Row]) -> None:
        written.append((kind, len(rows)))
        original(db, kind, rows)

    original = ft.insert
    monkeypatch.setattr(ft, "insert", insert)
    monkeypatch.setattr(file_table, "_BATCH", 7)
    tables(
        tmp_path, [row(f"/{n:03}", mode=FOLDER) for n in range(20)]
    )  # two rows each, after that of the empty content
    starts = [place for place, (kind, _) in enumerate(written) if kind is ft.Resource]
    sums = [sum(size for _, size in written[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    assert sums == [7, 7, 7, 7, 7, 6]


def test_the_table_has_the_indexes_of_the_format(tmp_path: Path) -> None:
    tables(tmp_path, TREE)
    with closing(sqlite3.connect(tmp_path / "ft")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql NOT NULL")}
    assert names == {
        "fr_resource_id_index",
        "fr_inode_id_index",
        "fnr_inode_id_index",
        "fd_inode_id_index",
    }
