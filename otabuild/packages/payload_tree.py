"""The rootfs of a payload as package managers see it: which file a path leads to, and its bytes."""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TypeVar

from otabuild.errors import FilterError, InputError, LimitError
from otabuild.format import limits
from otabuild.image.image import Payload
from otabuild.image.rebuild import Opener, rebuild
from otabuild.image.resources import GroupMember
from otabuild.image.tables import FileEntry

_SMALL = 4 * limits.MIB
_LISTED, _STEPS = 1_000_000, 500_000
"""Paths in all lists of a kind of package, and folders on their way: databases are hostile."""
_LINKS = 40
"""The limit for followed symlinks, the same as in Linux."""

T = TypeVar("T")


class Tree:
    """The regular files and symlinks of a payload by their paths.

    Attributes:
        files: every regular file, in path order.
        links: the target of every symlink.
        folders: every directory; the root is the empty text, so that a path is a folder, a slash
            and a name.
    """

    def __init__(self, payload: Payload, entries: Iterable[FileEntry]) -> None:
        """Take the entries of a payload, in path order."""
        self._payload = payload
        # A damaged image is an error, not the note of a database.
        self._resources = payload.image.resources
        self.files: dict[str, FileEntry] = {}
        self.links: dict[str, str] = {}
        self.folders = {""}
        for entry in entries:
            if entry.digest is not None:
                self.files[entry.path] = entry
            elif entry.is_directory:
                self.folders.add(entry.path)
            elif stat.S_ISLNK(entry.mode):
                self.links[entry.path] = entry.target or ""
        self._paths = list(self.files)
        self._real: dict[str, str | None] = {}
        self._listed = self._steps = 0

    def rested(self) -> Tree:
        """Return the tree for the next kind of package; no kind uses up what others may take."""
        self._listed = self._steps = 0
        return self

    def follow(self, path: str) -> str | None:
        """Return where an absolute path leads to, without links; None for nothing or a circle."""
        todo, at, links = _parts(path), "", 0
        while todo:
            part = todo.pop()
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = f"{at}/{part}"
            target = self.links.get(step)
            if target is not None:
                links += 1
                todo += _parts(target)
                at = "" if target.startswith("/") else at
            elif todo and step not in self.folders:
                return None
            else:
                at = step
            if links > _LINKS:
                return None
        return at

    def place(self, path: str) -> str:
        """Return the path of a listed path in the payload: links of folders are followed.

        Raises:
            LimitError: following the listed paths takes too long.
        """
        folder, _, name = path.rpartition("/")
        if folder in self.folders:
            return path
        if folder not in self._real:
            self._steps += folder.count("/")
            if self._steps > _STEPS:
                raise LimitError("following the listed paths takes too long", where=path[:200])
            self._real[folder] = self.follow(folder)
        real = self._real[folder]
        return path if real is None else f"{real}/{name}"

    def file(self, path: str) -> FileEntry | None:
        """Return the regular file that a path leads to, or None if there is nothing.

        Raises:
            InputError: there is something else: a device, a directory, a circle of links.
        """
        real = self.follow(path)
        if real is not None and real in self.files:
            return self.files[real]
        exists = self.place(path) in self.links or (real is not None and real in self.folders)
        if exists or (real is not None and self._payload.file_table.find(real) is not None):
            raise InputError("not a regular file", where=path)
        return None

    def inside(self, folder: str, suffix: str = "", *, deep: bool = False) -> Iterator[FileEntry]:
        """Yield the regular files in a folder (or anywhere below) whose path ends in a suffix."""
        prefix = f"{self.follow(folder)}/"
        for at in range(bisect_left(self._paths, prefix), len(self._paths)):
            path = self._paths[at]
            if not path.startswith(prefix):
                return
            if path.endswith(suffix) and (deep or "/" not in path[len(prefix) :]):
                yield self.files[path]

    def owned(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return, sorted, the listed paths that are regular files or symlinks of the payload.

        Raises:
            LimitError: all lists of the payload together are too long.
        """
        found = set()
        for path in paths:
            self._listed += 1
            if self._listed > _LISTED:
                raise LimitError(
                    "the lists of files are too long", expected=f"at most {_LISTED:,} paths"
                )
            real = path if path in self.files else self.place(path)
            if real in self.files or real in self.links:
                found.add(real)
        return tuple(sorted(found))

    def open(self, entry: FileEntry, limit: int) -> IO[bytes]:
        """Open a verified file of at most `limit` bytes in bounded memory; as `Payload.open`.

        Raises:
            LimitError: it has more bytes.
        """
        if entry.size > limit:
            raise LimitError(
                "too large to read", observed=entry.size, expected=f"at most {limit} bytes"
            )
        return self._payload.open(entry.path)

    def content(self, path: str) -> bytes:
        """Return the bytes of the file that a path leads to.

        There are none if it is no regular file of at most 4 MiB.
        """
        entry = self.files.get(self.follow(path) or "")
        if entry is None or entry.size > _SMALL:
            return b""
        with self.open(entry, _SMALL) as file:
            return file.read()

    def read(
        self,
        entries: Iterable[FileEntry],
        parse: Callable[[bytes], T],
        limit: int = 64 * limits.MIB,
    ) -> dict[str, T]:
        """Return what `parse` makes of each of many small files, by path.

        Each bundle is decompressed once.

        Files of more than 4 MiB are left out: nothing that we read is so large.

        Raises:
            LimitError: together they have over `limit` bytes.
            IntegrityError, FilterError: a content cannot be rebuilt from the image.
        """
        small = [entry for entry in entries if entry.size <= _SMALL]
        total = sum(entry.size for entry in small)
        if total > limit:
            raise LimitError("too much to read", observed=total, expected=f"at most {limit} bytes")
        parsed = {
            entry.digest: parse(entry.contents) for entry in small if entry.contents is not None
        }
        wanted = {entry.digest for entry in small if entry.digest is not None} - parsed.keys()

        def keep(member: GroupMember[bytes], opened: Opener) -> None:
            parsed[member.use] = parse(b"".join(opened()))

        rebuild(self._resources.groups_of(wanted), self._payload.image.blobs, keep)
        for entry in small:
            if entry.digest not in parsed:
                raise FilterError("its content is not in the resource table", where=entry.path)
        return {entry.path: parsed[entry.digest] for entry in small}


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
