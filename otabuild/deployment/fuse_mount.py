"""Shows a payload as a directory by FUSE, read-only; the optional extra `mount` brings the library.

Everything is read from the image when somebody asks for it, and verified then. Of the contents,
only those of open files are kept. This module imports its library at once, so only who mounts
imports it.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from posixpath import basename
from typing import IO, Any

import mfusepy

from otabuild.errors import InputError, OtabuildError, StorageError
from otabuild.image.image import Payload
from otabuild.image.tables import FileEntry
from otabuild.storage.fs import StrPath

_FOREVER = 3600 * 24 * 365
"""Seconds for which the kernel may believe what it was told: an image does not change."""


def mount(payload: Payload, directory: StrPath, *, warn: Callable[[str], None]) -> None:
    """Mount a payload read-only on an existing directory, until it is unmounted.

    The signature is not looked at. Owners and modes are shown as they are on the device, and only
    the caller can look.

    Args:
        payload: a payload of an open image.
        directory: where to mount it.
        warn: called with what is wrong with the image, where somebody reads it; the reader gets
            EIO.

    Raises:
        InputError: the directory does not exist.
        StorageError: the mount failed, for example because this host has no FUSE.
        OtabuildError: the file table cannot be read.
    """
    place = os.fspath(directory)
    if not os.path.isdir(place):
        raise InputError(
            "no such directory to mount on",
            where=place,
            hint="mkdir it; what is in it is hidden meanwhile",
        )
    payload.stat("/")
    name = payload.name.replace(",", "_")
    options = {
        "ro": True,
        "fsname": f"otabuild:{name}",
        "nothreads": True,
        "foreground": True,
        "use_ino": True,
    }
    lasting = dict.fromkeys(("attr_timeout", "entry_timeout", "negative_timeout"), _FOREVER)
    try:
        mfusepy.FUSE(
            _View(payload, warn), place, encoding="utf-8", kernel_cache=True, **options, **lasting
        )
    except RuntimeError as error:
        raise StorageError(
            "the directory was not mounted",
            where=place,
            observed=f"FUSE error {error}",
            hint="FUSE's own message is above; it needs /dev/fuse and fusermount3 (Debian: fuse3)",
        ) from None


# Its methods take what FUSE gives, needed or not (ARG002).
class _View(mfusepy.Operations):  # type: ignore[misc]  # mfusepy has no types
    """Answers the kernel; it has followed the symlinks of a path before it asks."""

    use_ns = True

    def __init__(self, payload: Payload, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._payload = payload
        self._open: dict[int, IO[bytes]] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what is wrong with the image; the system call fails with EIO."""
        try:
            yield
        except OtabuildError as error:
            self._warn(str(error))
            raise mfusepy.FuseOSError(errno.EIO) from None

    def _entry(self, path: str) -> FileEntry:
        with self._told():
            found = self._payload.file_table.find(path)
        if found is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return found

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
        entry = self._entry(path)
        links = entry.links_count or (2 if entry.is_directory else 1)
        size = len(entry.meta or b"") if stat.S_ISLNK(entry.mode) else entry.size
        return {
            "st_ino": entry.inode_id,
            "st_mode": entry.mode,
            "st_uid": entry.uid,
            "st_gid": entry.gid,
            "st_nlink": links,
            "st_size": size,
            "st_blocks": -(-size // 512),
        }

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:  # noqa: ARG002
        here = self._entry(path)
        with self._told():
            named = [
                (".", here),
                ("..", here),
                *((basename(entry.path), entry) for entry in self._payload.ls(path)),
            ]
        return [
            (name, {"st_ino": entry.inode_id, "st_mode": entry.mode}, 0) for name, entry in named
        ]

    def readlink(self, path: str) -> str:
        return self._entry(path).target or ""

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002
        number = next(self._numbers)
        with self._told():
            self._open[number] = self._payload.open(path)
        return number

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        self._open[fh].seek(offset)
        return self._open[fh].read(size)

    def release(self, path: str, fh: int) -> int:  # noqa: ARG002
        self._open.pop(fh).close()
        return 0

    def listxattr(self, path: str) -> list[str]:
        return list(self._entry(path).xattrs)

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:  # noqa: ARG002
        found = self._entry(path).xattrs.get(name)
        if found is None:
            raise mfusepy.FuseOSError(errno.ENODATA)
        return found
