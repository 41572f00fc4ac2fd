"""The entries of one tar archive: its members as a tree, contents hashed on the way.

Nothing is ever extracted: contents lie in one file of the work directory (or in the archive itself, where it is not
compressed), names are only keys of a table. So no name, link or device of an archive can reach the build host.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from typing import NamedTuple

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.rootfs.decompress import Budget
from otabuild.rootfs.entry import IN_ARCHIVE, IN_SPOOL, Content, Entry, Mark
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.spool import Spool, Spooled
from otabuild.rootfs.tar import Member, read_members
from otabuild.rootfs.tar_fields import text

_TYPES = {
    b"0": stat.S_IFREG,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}
_ZEROS = bytes(1 << 20)
_MEMBER = 500
"""What an entry takes in memory beside its names and attributes."""


class Archive(NamedTuple):
    """What an archive holds: entries by path, and hard links whose target it does not hold (path -> target)."""

    entries: dict[str, Entry]
    outside: dict[str, str]


def read_archive(reader: Reader, spool: Spool, budget: Budget, *, in_place: bool, layer: bool) -> Archive:
    """Read an archive front to back.

    A hard link gets what stands at its target when it comes, as if the archive were unpacked, whatever replaces the
    target later. Only where nothing stands there, what comes in the rest of an archive counts, too; in a layer it does
    not, as the target lies in the layers under it.

    Args:
        reader: the plain archive, or several that were joined (later ones lie over those before).
        spool: takes the contents.
        budget: counts the holes of sparse files, and what stays in memory.
        in_place: whether contents stay in the archive and only sparse files go to the spool.
        layer: whether it is a layer of an image.

    Raises:
        InputError: the archive is damaged or hostile.
    """
    tree = _Tree(reader.where)
    for member in read_members(reader, layer=layer):
        if not layer:
            tree.begin(member.archive)
        path = path_of(member.name, reader.where)
        attributes = sum(len(name) + len(value) for name, value in member.xattrs.items()) if member.xattrs else 0
        budget.keep(_MEMBER + len(path) + len(member.link) + attributes)
        tree.clear(path, directory=member.kind == b"5")
        if member.kind == b"1":
            tree.link(path, path_of(member.link, reader.where))
        else:
            content = _content(reader, member, spool, budget, in_place=in_place)
            tree.entries[path] = _entry(path, member, content)
    if not layer:
        tree.resolve()
    tree.close_gaps(budget)
    return Archive(tree.entries, tree.links)


class _Tree:
    """What was read so far: entries, and hard links whose target was not there when they came (path -> target)."""

    def __init__(self, where: str) -> None:
        self.entries: dict[str, Entry] = {}
        self.links: dict[str, str] = {}
        self._origin: dict[str, int] = {}
        """Path -> which of several archives that were joined it comes from."""
        self._archive = 0
        self._where = where

    def begin(self, archive: int) -> None:
        """What comes next is of this archive."""
        if archive != self._archive:
            self.resolve()
        self._archive = archive

    def clear(self, path: str, *, directory: bool) -> None:
        """Make room for a member.

        Raises:
            InputError: the same archive holds something else there.
        """
        previous = self.entries.pop(path, None)
        merged = directory and previous is not None and previous.is_directory
        if self._origin.get(path) == self._archive and not merged:
            raise InputError(
                "the archive holds a path twice",
                where=f"{self._where}: {path}",
                hint="programs differ in which one they take; unpack the archive and pack the tree again",
            )
        self.links.pop(path, None)
        self._origin[path] = self._archive

    def link(self, path: str, target: str) -> None:
        """A hard link; one to a hard link leads where that does.

        Raises:
            InputError: to a directory.
        """
        target = self.links.get(target, target)
        found = self.entries.get(target)
        if found is None:
            self.links[path] = target
            return
        if found.is_directory:
            raise _bad_link(self._where, path, target)
        if found.link is None:
            found = self.entries[target] = found._replace(link=f"{self._origin[target]}:{target}")
        self.entries[path] = found._replace(path=path)

    def resolve(self) -> None:
        """Give hard links the entry of a target that came behind them; those whose target is outside stay.

        Raises:
            InputError: a hard link leads to a directory, or to itself.
        """
        waiting, self.links = self.links, {}
        for path in sorted(waiting):
            trail, target = {path}, waiting[path]
            while target in waiting and target not in trail:
                trail.add(target)
                target = waiting[target]
            if target in trail:
                raise _bad_link(self._where, path, target)
            waiting |= dict.fromkeys(trail, target)
            self.link(path, target)

    def close_gaps(self, budget: Budget) -> None:
        """Add what is implied: `/`, and directories that only what lies in them tells of."""
        for path in self._origin:
            parent = path
            while parent != "/":
                parent = parent.rpartition("/")[0] or "/"
                if parent in self.entries or parent in self.links:
                    break
                budget.keep(_MEMBER + len(parent))
                self.entries[parent] = _implied(parent)
        self.entries.setdefault("/", _implied("/"))


def _implied(path: str) -> Entry:
    return Entry(path, Mark.IMPLIED, 0, 0, {}, None, None, None)


def _bad_link(where: str, path: str, target: str) -> InputError:
    return InputError(
        "the archive holds a hard link to itself or to a directory", where=f"{where}: {path}", observed=target
    )


def path_of(name: bytes, where: str) -> str:
    """The path in the rootfs that a member's name stands for; an absolute name is taken from the rootfs.

    Raises:
        InputError: the name is empty, leads upwards, or holds a NUL.
    """
    parts = [part for part in text(name).split("/") if part not in {"", "."}]
    if not name or ".." in parts or b"\0" in name or len(name) > limits.PATH:
        raise InputError(
            "the archive holds a name that is not safe",
            where=where,
            observed=repr(name[:200]),
            expected=f"a path of at most {limits.PATH} bytes without `..`",
        )
    return "/" + "/".join(parts)


def _content(reader: Reader, member: Member, spool: Spool, budget: Budget, *, in_place: bool) -> Content | None:
    if member.kind != b"0":
        return None
    place = IN_SPOOL
    if member.extents is not None:
        budget.hole(member.size - member.stored)
        found = spool.add(_unfolded(reader, member))
    elif in_place:
        found, place = _hashed(reader, member), IN_ARCHIVE
    else:
        found = spool.add(reader.parts(member.stored))
    return Content(place, found.offset, found.size, None, found.digest)


def _hashed(reader: Reader, member: Member) -> Spooled:
    hasher = hashlib.sha256()
    for part in reader.parts(member.stored):
        hasher.update(part)
    return Spooled(member.offset, member.stored, hasher.digest())


def _unfolded(reader: Reader, member: Member) -> Iterator[bytes]:
    at = 0
    for offset, length in [*(member.extents or ()), (member.size, 0)]:
        while at < offset:
            hole = _ZEROS[: offset - at]
            at += len(hole)
            yield hole
        yield from reader.parts(length)
        at += length


def _entry(path: str, member: Member, content: Content | None) -> Entry:
    target = None
    permissions = member.mode
    if member.kind == b"2":
        target, permissions = text(member.link), 0o777
    elif member.kind in b"34" and member.device != (0, 0):
        target = f"{member.device[0]}:{member.device[1]}"
    return Entry(path, _TYPES[member.kind] | permissions, member.uid, member.gid, member.xattrs, target, content, None)
