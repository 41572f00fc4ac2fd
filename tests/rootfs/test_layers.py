"""Whiteouts of layers, one archive at a time: what they take away, wherever they stand."""

from __future__ import annotations

import itertools
import os
import resource
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.rootfs.archive import Archive
from otabuild.rootfs.archive_index import ArchiveIndex
from otabuild.rootfs.entry import OPAQUE, Entry, Mark
from otabuild.rootfs.layers import apply_layers, with_whiteouts
from otabuild.rootfs.stream import write_entries
from tests.rootfs.trees import folder, regular, symlink


def implied(path: str) -> Entry:
    return Entry(path, Mark.IMPLIED, 0, 0, {}, None, None, None)


def seen(entries: Sequence[Entry], outside: dict[str, str] | None = None) -> dict[str, tuple[int, str | None]]:
    archive = Archive({entry.path: entry for entry in entries}, outside or {})
    found = list(with_whiteouts(archive, "layer"))
    assert [entry.path for entry in found] == sorted(entry.path for entry in found)
    return {entry.path: (entry.mode, entry.target) for entry in found}


def test_more_layers_are_merged_than_files_may_be_open(tmp_path: Path) -> None:
    indexes = [ArchiveIndex(str(tmp_path), f"{number}") for number in range(100)]
    for number, index in enumerate(indexes):
        with open(index.entries_path, "wb") as file:
            write_entries(file, [folder("/"), symlink(f"/{number:03}", "x")])
    before, is_open = resource.getrlimit(resource.RLIMIT_NOFILE), max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (is_open + 10, before[1]))
    try:
        found = list(apply_layers(indexes))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [entry.path for entry in found] == ["/", *(f"/{number:03}" for number in range(100))]


DIRECTORY = stat.S_IFDIR | 0o700
FILE = stat.S_IFREG | 0o644


@pytest.mark.parametrize(
    ("entries", "due"),
    [
        ([regular("/a/.wh.b"), implied("/a")], {"/a": (Mark.PASSED, None), "/a/b": (Mark.WHITEOUT, None)}),
        ([regular("/.wh.b")], {"/b": (Mark.WHITEOUT, None)}),
        ([regular("/b"), regular("/.wh.b")], {"/b": (FILE, None)}),
        ([symlink("/b", "x"), regular("/.wh.b")], {"/b": (stat.S_IFLNK | 0o777, "x")}),
        ([folder("/b", mode=0o700), regular("/.wh.b")], {"/b": (DIRECTORY, OPAQUE)}),
        (
            [implied("/b"), regular("/b/c"), regular("/.wh.b")],
            {"/b": (stat.S_IFDIR | 0o755, OPAQUE), "/b/c": (FILE, None)},
        ),
        ([implied("/b"), regular("/b/.wh..wh..opq")], {"/b": (Mark.EMPTIED, None)}),
        ([folder("/b", mode=0o700), regular("/b/.wh..wh..opq")], {"/b": (DIRECTORY, OPAQUE)}),
        (
            [implied("/b"), regular("/b/c"), regular("/b/.wh..wh..opq")],
            {"/b": (Mark.IMPLIED, OPAQUE), "/b/c": (FILE, None)},
        ),
        ([regular("/.wh..wh..opq"), regular("/a")], {"/": (Mark.EMPTIED, None), "/a": (FILE, None)}),
        ([regular("/.wh..wh.plnk"), regular("/.wh..wh.aufs"), regular("/a")], {"/a": (FILE, None)}),
        ([regular("/.wh.b"), implied("/b"), regular("/b/.wh..wh..opq")], {"/b": (Mark.WHITEOUT, None)}),
        (
            [regular("/.wh.b"), implied("/b"), regular("/b/.wh.c")],
            {"/b": (Mark.WHITEOUT, None), "/b/c": (Mark.WHITEOUT, None)},
        ),
        (
            [implied("/a"), implied("/a/b"), regular("/a/b/c"), implied("/d"), regular("/d/.wh.e")],
            {
                "/a": (Mark.IMPLIED, None),
                "/a/b": (Mark.IMPLIED, None),
                "/a/b/c": (FILE, None),
                "/d": (Mark.PASSED, None),
                "/d/e": (Mark.WHITEOUT, None),
            },
        ),
    ],
)
def test_whiteouts_in_any_order(entries: list[Entry], due: dict[str, tuple[int, str | None]]) -> None:
    for order in itertools.islice(itertools.permutations(entries), 24):
        assert seen(order) == due


def test_a_hard_link_to_a_lower_layer_names_its_target() -> None:
    assert seen([implied("/a")], {"/a/x": "/lower"}) == {"/a": (Mark.IMPLIED, None), "/a/x": (Mark.LINK, "/lower")}


@pytest.mark.parametrize(
    "entries",
    [
        [regular("/.wh.")],
        [regular("/.wh..")],
        [regular("/.wh...")],
        [regular("/a/.wh..wh.x")],
        [folder("/.wh.a"), regular("/.wh.a/b")],
        [implied("/.wh.a"), regular("/.wh.a/b")],
        [regular("/a"), regular("/a/.wh..wh..opq")],
        [symlink("/a", "b"), regular("/a/.wh..wh..opq")],
    ],
)
def test_whiteouts_that_make_no_sense(entries: list[Entry]) -> None:
    with pytest.raises(InputError, match="a whiteout that makes no sense"):
        seen(entries)


def test_a_hard_link_named_as_a_whiteout_makes_no_sense() -> None:
    with pytest.raises(InputError, match="a whiteout that makes no sense"):
        seen([], {"/.wh.x": "/lower"})
