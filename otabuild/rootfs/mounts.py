"""The mounts that this process sees, and whether times on them show that a file was changed."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_NO_TIME_OF_CHANGE = frozenset(
    {"9p", "afs", "cifs", "exfat", "msdos", "prl_fs", "smb3", "vboxsf", "vfat", "virtiofs"}
)
"""File systems whose ctime is another time, or what a server of any kind sends. So may be that of
FUSE."""
_IMAGES = frozenset({"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"})
"""File systems that a tool writes as a whole: two images may agree in all numbers and times of
their files."""
_STACKED = frozenset({"aufs", "overlay"})
"""File systems that show the times of others, which may be any of these, and may be exchanged
beneath them."""
_IMAGE_DEVICES = ("/dev/loop", "/dev/mapper/loop", "/dev/nbd")
"""Devices whose content is such a whole, too, whatever the file system on it."""


class Mount(NamedTuple):
    """A mount: where it is, and the type and the source of its file system."""

    point: str
    kind: str
    source: str

    @property
    def hides_changes(self) -> bool:
        """Whether content may differ although inode, size, mtime and ctime are the same."""
        return (
            self.kind.partition(".")[0] in {"fuse", "fuseblk"}
            or self.kind in _NO_TIME_OF_CHANGE | _IMAGES | _STACKED
            or self.source.startswith(_IMAGE_DEVICES)
        )


def mounts() -> list[Mount]:
    """Return all mounts; none without /proc."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return [_mount(os.fsdecode(line)) for line in file]
    except FileNotFoundError:
        return []


def mounts_below(root: str) -> list[Mount]:
    """Return the mounts below a directory, without one on the directory itself."""
    return _below(root, mounts())


def hides_changes(path: str, *, work: str) -> bool:
    """Whether times do not show all changes of a path, because of mounts there or below.

    Device numbers would not tell: files of overlayfs and btrfs have others than their mount.

    Args:
        path: the file or directory.
        work: where the record of earlier times lies. On one overlay with the files, as in a
            container, it is sound: whoever exchanges what lies beneath takes the record along.
    """
    if not os.path.exists(path):
        return False
    table = mounts()
    home = _innermost(work, table)
    seen = {*_below(path, table), *_innermost(path, table)}
    return any(
        mount.hides_changes for mount in seen if mount.kind not in _STACKED or [mount] != home
    )


def _below(root: str, table: list[Mount]) -> list[Mount]:
    prefix = os.path.realpath(root).rstrip("/") + "/"
    return [mount for mount in table if mount.point.startswith(prefix)]


def _innermost(path: str, table: list[Mount]) -> list[Mount]:
    """Return the mount that a path is on; none without /proc."""
    real = os.path.realpath(path)
    around = [
        mount
        for mount in table
        if real == mount.point or real.startswith(mount.point.rstrip("/") + "/")
    ]
    # Of several on one point, the last one is seen.
    return sorted(around, key=lambda mount: len(mount.point))[-1:]


def _mount(line: str) -> Mount:
    """Read a line of mountinfo; a variable number of fields stands before the separator."""
    before, _, after = line.partition(" - ")
    _, _, _, _, point, *_ = before.split(" ")
    kind, source, *_ = after.split(" ")
    return Mount(_unescaped(point), kind, _unescaped(source))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
