"""An entry of a rootfs: what the file table will say of a path, and where its content is now."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple


class Mark(IntEnum):
    """Replaces the mode, while sources are merged, of entries that are not part of the rootfs."""

    IMPLIED = 0
    """A directory that a source places entries in, but does not describe."""
    WHITEOUT = 1
    """A path that a layer removes from the layers below."""
    LINK = 2
    """A hard link of a layer to a target in the layers below."""
    EMPTIED = 3
    """A directory whose content in the layers below is removed, and about which the layer says
    nothing else."""
    PASSED = 4
    """A directory in which a layer only removes entries. It need not exist, but must not be a
    link."""


OPAQUE = "opaque"
"""The target of a directory, or implied directory, of a layer that hides everything below it in
lower layers."""
IN_SPOOL, IN_ARCHIVE = "spool", "archive"
"""Replaces the host path of a content until the location of the files is known."""


RACY_NS = 2 * 10**9
"""The times of a file that changed less than this many nanoseconds before it was examined may hide
a later change."""


class StatKey(NamedTuple):
    """Shows that a file was not touched since it was hashed (times in nanoseconds)."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Content(NamedTuple):
    """Where the bytes of a regular file are: `size` bytes of a host file, from `offset` on.

    A file of a directory tree has a `stat_key`, which must still match when the bytes are read.
    Content that was hashed while an archive was read has a `digest` (32 bytes) instead, and is in a
    file of the work directory. A file whose times may hide a change (see `mounts`) has both.
    """

    host_path: str
    offset: int
    size: int
    stat_key: StatKey | None
    digest: bytes | None


NO_XATTRS: Mapping[str, bytes] = {}


class Entry(NamedTuple):
    """One path of a rootfs.

    `path` is absolute within the rootfs, normalised, valid UTF-8. `mode` is the whole st_mode.
    `target` belongs to a symlink, `content` to a regular file. Entries with the same `link` (not
    None) are hard links of one inode; a group may have only one member. In the stream of a source
    (see `source.RootfsSource`) the target of a device identifies the device, and the mode may be a
    `Mark`. In the stream of a layer the target of a directory may be `OPAQUE`.
    """

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    xattrs: Mapping[str, bytes] = NO_XATTRS
    target: str | None = None
    content: Content | None = None
    link: str | None = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symlink.

        An entry of none of these three kinds is a whiteout (character device 0,0).
        """
        return stat.S_ISLNK(self.mode)
