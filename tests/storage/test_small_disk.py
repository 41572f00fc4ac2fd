"""A disk that is too small for an output is named, with what it has and what is needed; nothing is left on it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import MetaApplyError, StorageError
from otabuild.image.image import open_image
from otabuild.storage import files, fs, publishing
from otabuild.storage.member import document
from otabuild.storage.sink import ArtifactSink, DirectorySink, Sink
from tests import pki
from tests.image import forge
from tests.storage.small_images import image

SIZE = 1 << 20


def mounted(folder: Path, arguments: list[str]) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs"])


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 64 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-O", "^ea_inode", disk], check=True, capture_output=True)
    except OSError:
        pytest.skip("needs mkfs.ext4")
    yield from mounted(tmp_path / "ext4", ["-o", "loop", str(disk)])


@pytest.mark.parametrize("sink", [ArtifactSink, DirectorySink])
def test_an_image_that_does_not_fit(small: Path, sink: Callable[[str], Sink]) -> None:
    members = [*image("new"), document(f"blobs/sha256/{'1' * 64}", bytes(2 * SIZE))]
    with pytest.raises(StorageError, match="not enough space") as caught:
        sink(str(small / "image")).write(members, workers=1, progress=lambda _size: None)
    told = str(caught.value)
    assert str(small / "image") in told
    assert "bytes free on its disk" in told
    assert any(f"expected {2 * SIZE + extra} bytes" in told for extra in range(5000))
    assert os.listdir(small) == []


def test_a_tree_and_a_tar_that_do_not_fit(small: Path, tmp_path: Path) -> None:
    artifact = forge.forge().artifact(tmp_path / "image.zip")
    (small / "full").write_bytes(bytes(SIZE - 40_000))
    with open_image(artifact) as opened:
        for act, name in ((deploy, "tree"), (deploy_tar, "tree.tar")):
            with pytest.raises(StorageError, match="not enough space") as caught:
                act(opened.payload("main"), small / name, forge.policy(), pki.NOW, no_owner=True)
            assert str(small / name) in str(caught.value)
    assert os.listdir(small) == ["full"]


def test_a_disk_that_gets_full_meanwhile(small: Path) -> None:
    path = str(small / "file")
    with pytest.raises(StorageError, match="bytes free on the disk of") as caught:
        files.write_file(path, bytes(2 * SIZE))
    assert str(small) in str(caught.value)
    assert "work directory" not in str(caught.value)
    assert os.listdir(small) == []


def test_another_error_keeps_its_words(tmp_path: Path) -> None:
    def fail() -> None:
        with publishing.replacing(str(tmp_path / "file")):
            raise fs.storage_error(OSError(5, "Input/output error"), "read", "elsewhere")

    with pytest.raises(StorageError, match=r"^elsewhere: cannot read \(observed Input/output error\)$"):
        fail()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("path", "inode"), [("/etc/motd", 11), ("/etc", 3), ("/etc/gone", 6)])
def test_an_attribute_that_is_too_large_for_the_target(ext4: Path, tmp_path: Path, path: str, inode: int) -> None:
    """A file, a folder and a whiteout; ext4 holds one block of attributes, and calls more a full disk."""

    def enlarge(table: sqlite3.Connection) -> None:
        xattrs = msgpack.packb({"trusted.large": b"x" * 60_000})
        table.execute("UPDATE ft_inode SET xattrs = ? WHERE inode_id = ?", (xattrs, inode))

    artifact = forge.forge(file_table=enlarge).artifact(tmp_path / "image.zip")
    with open_image(artifact) as opened, pytest.raises(MetaApplyError, match=r"trusted\.large") as caught:
        deploy(opened.payload("main"), ext4 / "tree", forge.policy(), pki.NOW)
    told = str(caught.value)
    assert f"{path}: " in told
    assert "60000 bytes" in told
    assert ".probe" not in told
    assert os.listdir(ext4) == ["lost+found"]
