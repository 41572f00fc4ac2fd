"""The ids of resources, their filters, and the blobs that are left (section 7)."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

from otabuild.assembly.resource_table import Resources, write_resource_table
from otabuild.assembly.stored import Bundle, Storage, StoredContent
from otabuild.format.filters import Bundled, Compressed, Sliced
from otabuild.format.resource_table import ResourceRow
from tests.assembly.worlds import blob, plain

FIRST = 1 << 15


def rows(storage: Storage) -> list[ResourceRow]:
    return list(Resources(storage).rows())


def test_leaves_come_first_then_frames_bundles_members_and_contents() -> None:
    members = [blob(b"member one"), blob(b"member two!")]
    bundled = StoredContent(blob(b"bundle"), blob(b"bundle frame"), (blob(b"bundle frame"),))
    single = StoredContent(blob(b"single"), blob(b"single frame"), (blob(b"left"), blob(b"right")))
    found = rows(Storage([single], [Bundle.of(bundled, members)]))
    assert [(row.resource_id - FIRST, row.digest, row.size, row.filter_applied) for row in found] == [
        (0, *blob(b"bundle frame"), None),
        (1, *blob(b"left"), None),
        (2, *blob(b"right"), None),
        (3, *blob(b"single frame"), Sliced((FIRST + 1, FIRST + 2)).pack()),
        (4, *blob(b"bundle"), Compressed(FIRST).pack()),
        (5, *members[0], Bundled(FIRST + 4, 0, 10).pack()),
        (6, *members[1], Bundled(FIRST + 4, 10, 11).pack()),
        (7, *blob(b"single"), Compressed(FIRST + 3).pack()),
    ]


def test_single_contents_are_in_order_of_size_then_digest() -> None:
    contents = [b"long content", b"b", b"a", b"mid"]
    found = rows(Storage([plain(data) for data in contents], []))
    assert [row.size for row in found] == [1, 1, 3, 12]
    assert [row.digest for row in found[:2]] == sorted(blob(data).digest for data in (b"a", b"b"))
    assert [row.resource_id for row in found] == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]


def test_only_leaves_are_blobs() -> None:
    single = StoredContent(blob(b"single"), blob(b"frame"), (blob(b"frame"),))
    assert list(Resources(Storage([single, plain(b"x")], [])).leaves()) == [blob(b"x"), blob(b"frame")]


def test_a_slice_may_repeat() -> None:
    single = StoredContent(blob(b"abab"), None, (blob(b"ab"), blob(b"ab")))
    found = rows(Storage([single], []))
    assert [row.digest for row in found] == [blob(b"ab").digest, blob(b"abab").digest]
    assert found[1].filter_applied == Sliced((FIRST, FIRST)).pack()


def test_contents_of_one_size_are_ordered_by_digest_however_they_came() -> None:
    contents = [b"%d" % number for number in range(9)] + [b"longer"]
    due = sorted((blob(data) for data in contents), key=lambda one: (one.size, one.digest))
    for order in (contents, contents[::-1]):
        found = rows(Storage([plain(data) for data in order], []))
        assert [row.digest for row in found] == [one.digest for one in due]


def test_a_file_that_is_the_frame_of_another_stays_a_blob() -> None:
    outer = StoredContent(blob(b"file"), blob(b"frame"), (blob(b"frame"),))
    inner = StoredContent(blob(b"frame"), blob(b"frame of the frame"), (blob(b"frame of the frame"),))
    found = {row.digest: row for row in rows(Storage([outer, inner], []))}
    assert found[blob(b"frame").digest].filter_applied is None
    assert blob(b"frame of the frame").digest not in found  # nothing needs it


def test_a_member_that_is_also_stored_alone_is_not_taken_from_the_bundle() -> None:
    bundle = Bundle.of(plain(b"member+other"), [blob(b"member"), blob(b"+other")])
    found = {row.digest: row for row in rows(Storage([plain(b"member")], [bundle]))}
    assert found[blob(b"member").digest].filter_applied is None
    assert found[blob(b"+other").digest].filter_applied is not None


def test_a_bundle_that_nothing_needs_is_left_out() -> None:
    bundle = Bundle.of(plain(b"unused"), ())
    assert rows(Storage([], [bundle])) == []


def test_members_of_bundles_take_no_memory() -> None:
    members = [[blob(b"%d" % number) for number in range(first, first + 1000)] for first in range(0, 20_000, 1000)]
    storage = Storage([], [Bundle.of(plain(b"bundle %d" % number), blobs) for number, blobs in enumerate(members)])
    del members
    tracemalloc.start()
    try:
        assert sum(1 for _ in Resources(storage).rows()) == 20_020
        assert tracemalloc.get_traced_memory()[1] < 50 * 20_000  # what one bundle at a time takes
    finally:
        tracemalloc.stop()


def test_a_member_that_is_also_a_frame_is_listed_once() -> None:
    single = StoredContent(blob(b"single"), blob(b"frame"), (blob(b"fr"), blob(b"ame")))
    bundle = Bundle.of(plain(b"frame+x"), [blob(b"frame"), blob(b"+x")])
    assert [row.digest for row in rows(Storage([single], [bundle]))] == [
        blob(data).digest for data in (b"frame+x", b"fr", b"ame", b"frame", b"+x", b"single")
    ]


def test_a_member_that_is_also_a_content_of_slices_is_listed_once_in_its_place() -> None:
    single = StoredContent(blob(b"member"), None, (blob(b"mem"), blob(b"ber")))
    bundle = Bundle.of(plain(b"member+x"), [blob(b"member"), blob(b"+x")])
    assert [row.digest for row in rows(Storage([single], [bundle]))] == [
        blob(data).digest for data in (b"member+x", b"mem", b"ber", b"member", b"+x")
    ]


def test_the_table_is_a_database_of_the_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    table = rows(Storage([plain(b"x"), plain(b"yy")], []))
    write_resource_table(path, table)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM rs_manifest").fetchall() == [(*row, None) for row in table]
        assert db.execute("PRAGMA page_size").fetchone() == (4096,)
