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
        ("ext4", "/dev/mapper/loop0p2", True),
        ("overlay", "overlay", True),
        ("aufs", "none", True),
        ("tmpfs", "tmpfs", False),
        ("nfs4", "host:/tree", False),
        ("fusectl", "fusectl", False),
    ],
)
def test_where_times_hide_a_change(kind: str, source: str, hides: bool) -> None:
    assert Mount("/m", kind, source).hides_changes is hides


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
    monkeypatch.setattr("builtins.open", lambda _path, mode: real(path, mode))
    return path


@pytest.mark.usefixtures("table")
def test_mounts_have_their_place_and_kind() -> None:
    assert mounts.mounts() == [
        Mount("/", "ext4", "/dev/sda1"),
        Mount("/srv/mounted here", "fuse.sshfs", "host:/tree"),
        Mount("/opt", "squashfs", "/dev/loop3"),
    ]


@pytest.mark.parametrize(
    ("path", "hides"),
    [("", True), ("srv", True), ("srv/mounted", False), ("srv/mounted here/x", True), ("op", False), ("opt", True)],
)
def test_a_mount_around_a_path_or_below_it_hides_changes(
    table: Path, tmp_path: Path, path: str, *, hides: bool
) -> None:
    for folder in "srv/mounted", "srv/mounted here/x", "op", "opt":
        (tmp_path / folder).mkdir(parents=True)
    root = os.fsencode(tmp_path)
    table.write_bytes(TABLE.replace(b" /srv", b" %s/srv" % root).replace(b" /opt", b" %s/opt" % root))
    assert mounts.hides_changes(str(tmp_path / path), work="/work") is hides


@pytest.mark.parametrize(
    ("layers", "hides"),
    [
        (["ext4"], False),
        (["vfat"], True),
        (["ext4", "overlay"], True),
        (["overlay", "ext4"], False),
        (["vfat", "ext4", "xfs"], False),
    ],
)
def test_of_several_mounts_on_one_point_the_last_one_counts(
    table: Path, tmp_path: Path, layers: list[str], *, hides: bool
) -> None:
    point = os.fsencode(tmp_path)
    lines = [b"%d 1 0:50 / %s rw - %s none rw\n" % (23 + i, point, kind.encode()) for i, kind in enumerate(layers)]
    table.write_bytes(b"22 1 0:49 / / rw - overlay overlay rw\n" + b"".join(lines))
    (tmp_path / "file").touch()
    assert mounts.hides_changes(str(tmp_path / "file"), work="/work") is hides
    (tmp_path / "link").symlink_to("file")
    assert mounts.hides_changes(str(tmp_path / "link"), work="/work") is hides
    assert not mounts.hides_changes(str(tmp_path / "missing"), work="/work")


@pytest.mark.parametrize(
    ("kind", "place", "work", "hides"),
    [
        ("overlay", "tree", "work", False),
        ("overlay", "other/tree", "work", True),
        ("overlay", "tree", "other/work", True),
        ("overlay", "other/tree", "other/work", False),
        ("overlay", "", "work", True),  # the other one is mounted below it
        ("vfat", "tree", "work", True),
    ],
)
def test_an_overlay_that_holds_the_record_of_its_times_hides_none(
    table: Path, tmp_path: Path, kind: str, place: str, work: str, *, hides: bool
) -> None:
    for folder in place, work, "other":
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    kinds = kind.encode(), os.fsencode(tmp_path)
    table.write_bytes(
        b"22 1 0:49 / / rw - %s none rw\n" % kinds[0] + b"23 22 0:50 / %s/other rw - %s none rw\n" % kinds[::-1]
    )
    assert mounts.hides_changes(str(tmp_path / place), work=str(tmp_path / work)) is hides


def test_without_proc_no_mount_is_known(table: Path) -> None:
    table.unlink()
    assert mounts.mounts() == mounts.mounts_below("/") == []
