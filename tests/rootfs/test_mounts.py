from __future__ import annotations

import os

import pytest

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
