"""The files of an index: named by what they belong to, and by the version that made them."""

from __future__ import annotations

from pathlib import Path

from otabuild.rootfs.archive_index import STAMP, ArchiveIndex


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
