"""A storage and a tree are read back as they were written, and bundles know where their members are."""

from __future__ import annotations

from pathlib import Path

from otabuild.assembly.plan import PROFILES, is_inlined
from otabuild.assembly.stored import Bundle, BundleMember, Storage, StoredContent
from otabuild.assembly.tree import read_tree, write_tree
from tests.assembly.worlds import FOLDER, LINK, blob, plain, row, text

BUNDLE = Bundle.of(StoredContent(blob(b"onetwo"), blob(b"f"), (blob(b"f"),)), [blob(b"one"), blob(b"two")])


def test_members_of_a_bundle_follow_each_other() -> None:
    assert BUNDLE.members == (BundleMember(blob(b"one"), 0), BundleMember(blob(b"two"), 3))


def test_a_storage_is_read_back(tmp_path: Path) -> None:
    for number, storage in enumerate(
        [
            Storage([], []),
            Storage([plain(b"x")], []),
            Storage([plain(b"x"), StoredContent(blob(b"y"), None, (blob(b"1"), blob(b"2")))], [BUNDLE, BUNDLE]),
        ]
    ):
        path = tmp_path / str(number)
        with path.open("wb") as file:
            storage.write(file)
        with path.open("rb") as file:
            assert Storage.read(file) == storage


def test_a_tree_is_read_back(tmp_path: Path) -> None:
    rows = [row("/", mode=FOLDER), row("/a", text(100)), row("/b", b"x", link=0), row("/l", mode=LINK)]
    with (tmp_path / "tree").open("wb") as file:
        write_tree(file, rows)
    assert list(read_tree(str(tmp_path / "tree"))) == rows


def test_contents_of_1_to_64_bytes_are_inlined() -> None:
    assert [size for size in range(100) if is_inlined(size)] == list(range(1, 65))


def test_the_numbers_of_the_profiles() -> None:
    assert {name: plan.key() for name, plan in PROFILES.items()} == {
        "update": [16384, 65536, 262144, 0.25, 9, 9, 1024, 1.05, True],
        "size": [262144, 4194304, 8388608, 0.015625, 10, 10, 1024, 1.05, True],
        "reference": [8192, 33554432, 33554432, 0, 16, 9, 1024, 1.25, False],
    }
