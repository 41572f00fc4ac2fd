"""An entry of a rootfs: what the file table will say of one path, and where its content lies on the build host."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple


class Mark(IntEnum):
    """What stands in the place of a mode, while sources are merged, where an entry is none of the rootfs."""

    IMPLIED = 0
    """A directory that a source places entries in, but says nothing of."""
    WHITEOUT = 1
    """What a layer takes away from those under it."""
    LINK = 2
    """A hard link of a layer to its target in the layers under it."""
    EMPTIED = 3
    """A directory of which a layer says only that what those under it have below it is gone."""
    PASSED = 4
    """A directory in which a layer only takes away: it need not be there, but must be no link."""


OPAQUE = "opaque"
"""The target of a directory, or implied directory, of a layer that hides all that those under it have below."""
IN_SPOOL, IN_ARCHIVE = "spool", "archive"
"""What stands in the place of the host path of a content until it is known where the files lie."""


class StatKey(NamedTuple):
    """What tells that a file was not touched since it was hashed (times in nanoseconds)."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Content(NamedTuple):
    """Where the bytes of a regular file lie: `size` bytes of a host file, from `offset` on.

    A file of a directory tree has a `stat_key`, which must still hold when the bytes are read. Content that was hashed
    while an archive was read has a `digest` (32 bytes) instead, and lies in a file of the work directory.
    """

    host_path: str
    offset: int
    size: int
    stat_key: StatKey | None
    digest: bytes | None


class Entry(NamedTuple):
    """One path of a rootfs.

    `path` is absolute from the rootfs, normalised, valid UTF-8. `mode` is the whole st_mode. `target` is a symlink's,
    `content` a regular file's. Entries with the same `link` (not None) are hard links of one inode; a group may have
    one member only. In the stream of a source (see `source.Source`) the target of a device says which it is, and the
    mode may be a `Mark`; in that of a layer the target of a directory may be `OPAQUE`.
    """

    path: str
    mode: int
    uid: int
    gid: int
    xattrs: Mapping[str, bytes]
    target: str | None
    content: Content | None
    link: str | None

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
        """Whether this is a symlink; what is none of the three is a whiteout (character device 0,0)."""
        return stat.S_ISLNK(self.mode)
