"""Only one process at a time replaces a file, through a temporary file that no other process can touch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from otabuild.errors import StateError, StorageError
from otabuild.storage import files, publishing
from otabuild.storage.directory_writer import write_directory
from tests.storage.small_images import blob, image, write

on_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.otabuild-tmp"


def test_only_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "image.zip"
    with publishing.replacing(str(path)) as fd:
        with pytest.raises(StateError, match="another process is writing this"):
            files.write_file(str(path), b"second")
        os.write(fd, b"first")
    assert path.read_bytes() == b"first"
    files.write_file(str(path), b"third")
    assert path.read_bytes() == b"third"
    assert os.listdir(tmp_path) == ["image.zip"]


def test_only_one_process_writes_an_image_directory(tmp_path: Path) -> None:
    write(tmp_path / "image", "old")
    with pytest.raises(StateError, match="another process is writing this"):
        write_directory(str(tmp_path / "image"), image("mine"), progress=lambda _size: write(tmp_path / "image", "new"))
    assert blob(tmp_path / "image") == "old"
    write(tmp_path / "image", "new")
    assert os.listdir(tmp_path) == ["image"]


def test_who_comes_meanwhile_loses_nothing(tmp_path: Path) -> None:
    """After the rename, a file under the name of the temporary file belongs to another process."""
    path = tmp_path / "file"
    with suppress(StorageError), publishing.replacing(str(path)):
        os.rename(temporary(path), path)
        temporary(path).write_text("another process's")
        raise StorageError("no space")
    assert temporary(path).read_text() == "another process's"


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "file"
    temporary(path).write_text("half")
    files.write_file(str(path), b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_hard_link_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    os.link(tmp_path / "mine", temporary(tmp_path / "file"))
    with pytest.raises(StateError, match="not ours"):
        files.write_file(str(tmp_path / "file"), b"new")
    assert (tmp_path / "mine").read_text() == "mine"


@on_root
def test_a_file_of_another_user_in_its_place_gets_no_key(tmp_path: Path) -> None:
    spy = temporary(tmp_path / "sign.key")
    spy.touch(0o666)
    os.chown(spy, 12345, 12345)
    with pytest.raises(StateError, match="not ours"):
        files.write_file(str(tmp_path / "sign.key"), b"secret", mode=0o600)
    assert spy.read_bytes() == b""


def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    for name in ("pipe", "link", "folder", "stdout"):
        with pytest.raises(StateError, match="not a plain file"):
            files.write_file(str(tmp_path / name), b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_link_to_a_file_is_replaced_and_the_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    files.write_file(str(tmp_path / "link"), b"new")
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "link").read_text() == "new"
