"""An image directory replaces only another image directory, is readable by others, and may be behind a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otabuild.errors import InputError, StateError
from otabuild.format.index import OCI_LAYOUT
from tests.storage.small_images import blob, write


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_an_image_takes_the_place_of_an_image(tmp_path: Path) -> None:
    write(tmp_path / "image", "old")
    write(tmp_path / "image", "new")
    assert blob(tmp_path / "image") == "new"
    assert os.listdir(tmp_path) == ["image"]


@pytest.mark.parametrize(
    "index", [b'{"schemaVersion":2,"manifests":[]}', b"", None], ids=["container image", "empty", "none"]
)
def test_a_layout_of_somebody_else_is_left_alone(tmp_path: Path, index: bytes | None) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "oci-layout").write_bytes(OCI_LAYOUT)
    if index is not None:
        (layout / "index.json").write_bytes(index)
    before = sorted(path.name for path in layout.iterdir())
    with pytest.raises(InputError, match="not an OTA image"):
        write(layout, "new")
    assert sorted(path.name for path in layout.iterdir()) == before
    assert os.listdir(tmp_path) == ["layout"]


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not an OTA image"):
        write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_stays_and_the_folder_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "www").symlink_to("real/image")
    for content in ("old", "new"):  # the first finds the link only
        write(tmp_path / "www", content)
        assert (tmp_path / "www").is_symlink()
        assert blob(tmp_path / "real/image") == content
    assert sorted(path.name for path in tmp_path.rglob("*") if "tmp" in path.name) == []


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", "old")
    (tmp_path / ".image.otabuild-tmp").symlink_to("real")
    with pytest.raises(StateError, match="not ours"):
        write(tmp_path / "image", "new")
    assert blob(tmp_path / "real") == "old"
    assert sorted(os.listdir(tmp_path)) == [".image.otabuild-tmp", "real"]


def test_what_others_may_have_put_in_the_way_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / ".image.otabuild-tmp"
    precious.mkdir()
    (precious / "file").touch()
    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match="others may write"):
        write(tmp_path / "image", "new")
    assert os.listdir(precious) == ["file"]
    tmp_path.chmod(0o775)  # as with umask 002
    write(tmp_path / "image", "new")
    assert os.listdir(tmp_path) == ["image"]


@pytest.mark.parametrize("mask", [0o077, 0])
def test_others_may_read_it_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        write(tmp_path / "image", "new")
    modes = {path.stat().st_mode & 0o777 for path in [tmp_path / "image", *tmp_path.glob("image/**/*")]}
    folders = {path.stat().st_mode & 0o777 for path in (tmp_path / "image", tmp_path / "image/blobs/sha256")}
    assert modes == {0o644, 0o755}
    assert folders == {0o755}
