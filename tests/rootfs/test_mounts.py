from __future__ import annotations

import os
from pathlib import Path

import pytest

from otabuild.rootfs import mounts
from otabuild.rootfs.mounts import Mount


@pytest.mark.parametrize(
    ("kind", "source", "hides"),
    [
        ("fuse.sshfs", "host:/tree", True),
        ("fuseblk", "/dev/sda1", True),
        ("vfat", "/dev/sda1", True),
        ("9p", "C:\\", True),
        ("cifs", "//host/share", True),
        ("squashfs", "/dev/sda1", True),
        ("ext4", "/dev/loop3", True),
        ("btrfs", "/dev/nbd0", True),
        ("ext4", "/dev/sda1", False),
        ("xfs", "/dev/mapper/data", False),
        ("overlay", "overlay", False),
        ("tmpfs", "tmpfs", False),
        ("nfs4", "host:/tree", False),
        ("fusectl", "fusectl", False),
    ],
)
def test_where_times_hide_a_change(kind: str, source: str, hides: bool) -> None:
    assert Mount("/m", os.makedev(0, 50), kind, source).hides_changes is hides


TABLE = (
    b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    b"23 22 0:50 / /srv/mounted\\040here rw - fuse.sshfs host:/tree rw\n"
    b"24 22 7:3 / /opt rw master:1 propagate_from:2 - squashfs /dev/loop3 ro\n"
)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is read in place of the list of mounts."""
    path, real = tmp_path / "mountinfo", open
    path.write_bytes(TABLE)
    monkeypatch.setattr("builtins.open", lambda _path, **options: real(path, **options))
    return path


@pytest.mark.usefixtures("table")
def test_mounts_have_their_place_device_and_kind() -> None:
    assert mounts.mounts() == [
        Mount("/", os.makedev(8, 1), "ext4", "/dev/sda1"),
        Mount("/srv/mounted here", os.makedev(0, 50), "fuse.sshfs", "host:/tree"),
        Mount("/opt", os.makedev(7, 3), "squashfs", "/dev/loop3"),
    ]
    assert mounts.hiding_devices() == {os.makedev(0, 50), os.makedev(7, 3)}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("path", "hides"),
    [("/", True), ("/srv", True), ("/srv/mounted", False), ("/srv/mounted here/x", False), ("/op", False)],
)
def test_a_mount_below_a_folder_hides_changes_of_the_folder(path: str, hides: bool) -> None:
    assert mounts.hides_changes(path) is hides


def test_a_file_on_a_device_that_hides_changes(table: Path, tmp_path: Path) -> None:
    assert not mounts.hides_changes(str(tmp_path))
    device = tmp_path.stat().st_dev
    table.write_bytes(b"22 1 %d:%d / / rw - vfat /dev/sdb1 rw\n" % (os.major(device), os.minor(device)))
    assert mounts.hides_changes(str(tmp_path))


def test_without_proc_no_mount_is_known(table: Path) -> None:
    table.unlink()
    assert mounts.mounts() == mounts.mounts_below("/") == []
