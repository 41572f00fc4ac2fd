"""The cache if its database is damaged or cannot be opened: an otabuild error, and nothing remains open."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path

import pytest

from otabuild.errors import StorageError
from otabuild.storage import fs
from otabuild.storage.cache import Cache
from tests.leaks import nothing_left


def test_a_table_that_is_lost_while_the_cache_is_open_is_our_error(tmp_path: Path) -> None:
    with Cache(str(tmp_path)) as cache:
        cache.commit()
        with sqlite3.connect(tmp_path / "cache.sqlite3") as other:
            other.execute("DROP TABLE blobs")
        other.close()
        with pytest.raises(StorageError, match="cannot use the cache"):
            cache.usage()
        with pytest.raises(StorageError, match="cannot use the cache"):
            cache.discard_damaged()


def test_a_cache_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cache(str(tmp_path)):
        pass
    (tmp_path / "packs" / "7").write_bytes(b"of a run that was killed")

    def refuse(path: str, **_options: object) -> None:
        raise StorageError("cannot remove", where=path)

    with nothing_left(), monkeypatch.context() as patch:
        patch.setattr(fs, "unlink", refuse)
        with pytest.raises(StorageError, match="packs/7"):
            Cache(str(tmp_path))
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_database_that_is_thrown_away_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache.sqlite3").write_bytes(b"no database at all" * 100)
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    with Cache(str(tmp_path)):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            opened[0].execute("SELECT 1")
        opened[1].execute("SELECT 1")


def test_the_usage_with_a_pack_behind_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    with Cache(str(tmp_path)) as cache:
        cache.add(b"blob")
        pack = tmp_path / "packs" / "1"
        pack.unlink()
        pack.symlink_to("nowhere")
        assert cache.usage()[:2] == (1, 4)
