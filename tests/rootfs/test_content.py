from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild.errors import InputChangedError, InputUnreadableError
from otabuild.rootfs.content import is_readable, load_content, read_content, stat_key, with_digest
from otabuild.rootfs.entry import Content
from tests.rootfs.trees import as_nobody


def content_of(path: Path) -> Content:
    status = path.lstat()
    return Content(str(path), 0, status.st_size, stat_key(status), None)


def _rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"y" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": lambda path: path.write_bytes(b"x" * 5001),
    "shrinks": lambda path: path.write_bytes(b"x" * 10),
    "same size and mtime": _rewrite,
    "mode": lambda path: os.chmod(path, 0o600),
    "replaced by the same bytes": lambda path: _replace(path, lambda p: p.write_bytes(b"x" * 5000)),
    "symlink": lambda path: _replace(path, lambda p: p.symlink_to("/etc/passwd")),
    "directory": lambda path: _replace(path, Path.mkdir),
    "fifo": lambda path: _replace(path, os.mkfifo),
    "deleted": Path.unlink,
}


def test_a_key_tells_file_systems_apart() -> None:
    status = os.stat("/")
    times = (status.st_mtime_ns, status.st_ctime_ns)
    assert stat_key(status) == (status.st_dev, status.st_ino, status.st_size, *times)


@pytest.mark.parametrize("change", CHANGES)
def test_b1_a_change_between_scan_and_reading_is_named(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    content = content_of(path)
    assert load_content(content) == b"".join(read_content(content, 1000)) == b"x" * 5000
    CHANGES[change](path)
    with pytest.raises(InputChangedError, match=str(path)):
        load_content(content)
    with pytest.raises(InputChangedError, match=str(path)):
        list(read_content(content))


@pytest.mark.parametrize("change", ["grows", "shrinks", "same size and mtime", "mode"])
def test_b1_a_change_while_reading_is_named(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    pieces = read_content(content_of(path), 1000)
    next(pieces)
    CHANGES[change](path)
    with pytest.raises(InputChangedError, match=str(path)):
        list(pieces)


def test_b1_a_change_while_loading_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    content = content_of(path)
    pread = os.pread

    def racing(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        _rewrite(path)
        return data

    monkeypatch.setattr(os, "pread", racing)
    with pytest.raises(InputChangedError, match=str(path)):
        load_content(content)


def test_a_part_of_a_spool_is_held_against_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.write_bytes(b"before" + b"content" + b"after")
    content = Content(str(path), 6, 7, None, hashlib.sha256(b"content").digest())
    assert load_content(content) == b"".join(read_content(content, 3)) == b"content"
    for spoilt in b"before" + b"Content" + b"after", b"before" + b"cont":
        path.write_bytes(spoilt)
        with pytest.raises(InputChangedError, match="spool"):
            load_content(content)
        with pytest.raises(InputChangedError, match="spool"):
            list(read_content(content, 3))


def test_reads_that_come_back_short_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 100), offset))
    assert load_content(content_of(path)) == bytes(range(256)) * 10


def test_an_io_error_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def broken(*_args: object) -> bytes:
        raise OSError(5, "Input/output error")

    content = content_of(path)
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(InputUnreadableError, match="Input/output error"):
        load_content(content)
    with pytest.raises(InputUnreadableError, match="Input/output error"):
        list(read_content(content))


def test_only_what_permissions_forbid_counts_as_unreadable(tmp_path: Path) -> None:
    """Whatever else is wrong with a file is told by whoever reads it."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    content = content_of(path)
    assert is_readable(content)
    path.chmod(0o000)
    with as_nobody(tmp_path):
        assert not is_readable(content)
    path.unlink()
    assert is_readable(content)


def test_a_digest_comes_from_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3000)
    content = content_of(path)
    assert with_digest(content) == content._replace(digest=hashlib.sha256(b"x" * 3000).digest())
