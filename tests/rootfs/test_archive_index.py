"""The files of an index: named by what they belong to, and by the version that made them."""

from __future__ import annotations

import os
from pathlib import Path

from otabuild.rootfs.archive_index import STAMP, ArchiveIndex, write_index
from otabuild.rootfs.decompress import Budget
from tests.rootfs.tars import END, member


def test_an_index_is_found_by_either_of_its_files(tmp_path: Path) -> None:
    index = ArchiveIndex(str(tmp_path), "0a-1b")
    assert index.entries_path == str(tmp_path / f"0a-1b.{STAMP}.entries")
    assert index.spool_path == str(tmp_path / f"0a-1b.{STAMP}.spool")
    assert ArchiveIndex.of(index.entries_path) == ArchiveIndex.of(index.spool_path) == index


def test_an_index_exists_with_both_files_and_is_removed_with_both(tmp_path: Path) -> None:
    index = ArchiveIndex(str(tmp_path), "0a")
    for path in (index.entries_path, index.spool_path):
        assert not index.exists()
        Path(path).touch()
    assert index.exists()
    index.remove()
    assert list(tmp_path.iterdir()) == []
    index.remove()


def test_an_index_is_written_under_other_names_and_those_of_other_versions_go(tmp_path: Path) -> None:
    old, other = tmp_path / "0a.0.1-1.spool", tmp_path / "0ab.0.1-1.spool"
    old.touch()
    other.touch()
    meanwhile: list[str] = []
    index = ArchiveIndex(str(tmp_path), "0a")
    chunks = [member(b"a", b"text") + END]
    write_index(index, chunks, Budget("a"), check=lambda: meanwhile.extend(os.listdir(tmp_path)))
    unfinished = {f"0a.{STAMP}.{kind}.otabuild-tmp" for kind in ("entries", "spool")}
    assert set(meanwhile) == {old.name, other.name, *unfinished}
    assert set(os.listdir(tmp_path)) == {other.name, f"0a.{STAMP}.entries", f"0a.{STAMP}.spool"}
    assert [entry.path for entry in index.read()] == ["/", "/a"]
