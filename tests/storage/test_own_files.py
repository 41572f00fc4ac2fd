"""No file of the work directory is written through a link that somebody put there."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from otabuild.errors import StateError, StorageError
from otabuild.rootfs.spool import Spool
from otabuild.storage import files
from otabuild.storage.cache import Cache
from otabuild.storage.lock import WorkLock
from otabuild.storage.sqlite_write import writing_database

PRECIOUS = "precious" * 1000


def lock(folder: Path) -> None:
    WorkLock(str(folder)).acquire(started="now")


def cache(folder: Path) -> None:
    with Cache(str(folder)) as opened:
        opened.add(b"new")


def stamp(folder: Path) -> None:
    files.write_file(str(folder / "stamp"), b"new")


def spool(folder: Path) -> None:
    with Spool(str(folder / "spool")) as opened:
        opened.write(b"new")
        opened.keep(str(folder / "kept"))


def database(folder: Path) -> None:
    with writing_database(str(folder / "table"), ["CREATE TABLE t (a)"], page_size=4096):
        pass


WRITERS: list[tuple[str, Callable[[Path], None]]] = [
    ("lock", lock),
    ("lock", cache),
    ("cache.sqlite3", cache),
    ("cache.sqlite3-journal", cache),
    ("packs/1", cache),
    ("stamp", stamp),
    (".stamp.otabuild-tmp", stamp),
    ("spool", spool),
    ("kept", spool),
    ("table", database),
    ("table-journal", database),
]


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symlink", "hard link"])
@pytest.mark.parametrize(("name", "act"), WRITERS, ids=lambda value: getattr(value, "__name__", value))
def test_a_link_is_not_written_through(
    name: str, act: Callable[[Path], None], link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    precious, work = tmp_path / "precious", tmp_path / "work"
    precious.write_text(PRECIOUS)
    (work / name).parent.mkdir(parents=True)
    link(precious, work / name)
    with suppress(StateError):
        act(work)
    assert precious.read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["cache", "cache/packs", "archives", "archives/tar/0f", "recipes/vehicle", "recipes"])
def test_a_folder_that_leads_to_another_place_is_refused(name: str, tmp_path: Path) -> None:
    other, work = tmp_path / "other", tmp_path / "work"
    other.mkdir()
    (work / name).parent.mkdir(parents=True)
    (work / name).symlink_to(other)
    with pytest.raises(StateError, match="link to another place"):
        lock(work)
    (tmp_path / "fast disk").symlink_to(other)
    lock(tmp_path / "fast disk")  # the whole work directory may be elsewhere


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(StateError, match="not ours"):
        lock(tmp_path)


def test_a_pack_that_has_another_name_gets_no_holes(tmp_path: Path) -> None:
    with Cache(str(tmp_path / "cache")) as opened:
        for number in range(50):
            opened.add(os.urandom(10_000) + bytes([number]))
        (pack,) = (tmp_path / "cache/packs").iterdir()
        os.link(pack, tmp_path / "copy")
        before = (tmp_path / "copy").read_bytes()
        opened.mark_used([], 1)
        assert opened.shrink(200_000, 2) > 0
    assert (tmp_path / "copy").read_bytes() == before


def test_new_files_are_all_written_or_none(tmp_path: Path) -> None:
    contents = {"small": b"x", "large": b"x" * 1000, "third": b"x"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StorageError, match="large"):
            files.write_new_files(str(tmp_path), contents, secret=set())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(tmp_path.iterdir())
    files.write_new_files(str(tmp_path), contents, secret={"small"})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "small": 0o600,
        "large": 0o644,
        "third": 0o644,
    }


def test_new_files_overwrite_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").symlink_to("elsewhere")
    with pytest.raises(StateError, match="never overwritten"):
        files.write_new_files(str(tmp_path), {"a": b"", "b": b""}, secret=set())
    assert os.listdir(tmp_path) == ["b"]
