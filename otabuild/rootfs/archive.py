"""Reads one tar archive: builds a tree from its members and hashes contents on the way.

Nothing is ever extracted. Contents are in one file of the work directory (or in the archive itself,
if it is not compressed), and names are only keys of a table. Therefore no name, link or device of
an archive can reach the build host.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.format.digest import sha256_of
from otabuild.rootfs.decompress import Budget
from otabuild.rootfs.entry import IN_ARCHIVE, IN_SPOOL, Content, Entry, Mark
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.spool import Spool, Spooled
from otabuild.rootfs.stream import PackedEntries
from otabuild.rootfs.tar import TarMember, read_members
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
"""The memory that an entry takes in addition to its names and attributes."""


class Archive(NamedTuple):
    """The content of an archive: entries by path, and hard links (path -> target) out of it."""

    entries: Mapping[str, Entry]
    outside: dict[str, str]


def read_archive(
    reader: Reader, spool: Spool, budget: Budget, *, in_place: bool, layer: bool
) -> Archive:
    """Read an archive from start to end.

    A hard link gets the entry that is at its target when the link is read, as if the archive were
    unpacked; replacing the target later does not change the link. If nothing is at the target yet,
    the rest of the archive also counts. In a layer it does not, because the target is in the layers
    below.

    Args:
        reader: the plain archive, or several concatenated ones (later ones replace entries of
            earlier ones).
        spool: receives the contents.
        budget: counts the holes of sparse files and the memory in use.
        in_place: whether contents stay in the archive, so that only sparse files go to the spool.
        layer: whether it is a layer of an image.

    Raises:
        InputError: the archive is damaged or hostile.
    """
    tree = _ArchiveTree(reader.where)
    for member in read_members(reader, layer=layer):
        if not layer:
            tree.begin(member.archive)
        path = path_of(member.name, reader.where)
        attributes = sum(len(name) + len(value) for name, value in member.xattrs.items())
        budget.keep(_MEMBER + len(path) + len(member.link) + attributes)
        target = path_of(member.link, reader.where) if member.kind == b"1" else None
        if target == path and path in tree.entries:
            continue  # a hard link to itself changes nothing
        tree.clear(path, directory=member.kind == b"5", appended=member.gnu and not layer)
        if target is not None:
            tree.link(path, target)
        else:
            content = _content(reader, member, spool, budget, in_place=in_place)
            tree.entries[path] = _entry(path, member, content)
    if not layer:
        tree.resolve()
    tree.close_gaps(budget)
    return Archive(tree.entries, tree.links)


class _ArchiveTree:
    """The entries read so far, and hard links (path -> target) whose target was not there yet."""

    def __init__(self, where: str) -> None:
        self.entries = PackedEntries()
        self.links: dict[str, str] = {}
        self._origin: dict[str, int] = {}
        """Maps paths to the number of the concatenated archive that they come from; those of the
        first are not in it."""
        self._archive = 0
        self._replaced = 0
        """How many entries were replaced by now: links to a path before and after that are
        different ones."""
        self._where = where

    def begin(self, archive: int) -> None:
        """Start the archive with this number."""
        if archive != self._archive:
            self.resolve()
        self._archive = archive

    def clear(self, path: str, *, directory: bool, appended: bool) -> None:
        """Make room for a member.

        `tar --append` and `--update` put the new version of a file behind the old one, and GNU tar
        takes the last. In GNU tar's own format a second member at a path is such a version;
        elsewhere it may be an attack on programs that take the first.

        Raises:
            InputError: the same archive already has something else at this path.
        """
        previous = self.entries.pop(path, None)
        is_there = previous is not None or self.links.pop(path, None) is not None
        is_folder = previous is not None and previous.is_directory
        replaces = appended and not directory and not is_folder
        self._replaced += is_there
        is_twice = is_there and self._origin.get(path, 0) == self._archive
        if is_twice and not (directory and is_folder) and not replaces:
            raise InputError(
                "the archive contains a path twice",
                where=f"{self._where}: {path}",
                hint="programs differ in which one they take, unless `tar --append` wrote GNU "
                "tar's own format; unpack the archive and pack the tree again",
            )
        if self._archive:
            self._origin[path] = self._archive

    def link(self, path: str, target: str) -> None:
        """Add a hard link. A link to a hard link gets the target of that link.

        Raises:
            InputError: the target is a directory.
        """
        waiting = self.links.get(target)
        found = self.entries.get(target)
        # What is at that target by now may have come after the link to it.
        if waiting is not None or found is None:
            self.links[path] = waiting or target
            return
        if found.is_directory:
            raise _bad_link(self._where, path, target)
        if found.link is None:
            found = self.entries[target] = found._replace(link=f"{self._replaced}:{target}")
        self.entries[path] = found._replace(path=path)

    def resolve(self) -> None:
        """Resolve hard links whose target came after them; those out of the archive remain.

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
        """Add implied entries: `/`, and directories that appear only as parents."""
        for path in (*self.entries, *self.links):
            parent = path
            while parent != "/":
                parent = parent.rpartition("/")[0] or "/"
                if parent in self.entries or parent in self.links:
                    break
                budget.keep(_MEMBER + len(parent))
                self.entries[parent] = Entry(parent, Mark.IMPLIED)
        self.entries.setdefault("/", Entry("/", Mark.IMPLIED))


def _bad_link(where: str, path: str, target: str) -> InputError:
    return InputError(
        "the archive contains a hard link to itself or to a directory",
        where=f"{where}: {path}",
        observed=target,
    )


def path_of(name: bytes, where: str) -> str:
    """Return the path in the rootfs for a member's name; absolute ones start at the rootfs.

    Raises:
        InputError: the name is empty, leads upwards, or contains a NUL.
    """
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    path = b"/" + b"/".join(parts)
    if not name or b".." in parts or b"\0" in name or len(path) > limits.PATH:
        raise InputError(
            "the archive contains an unsafe name",
            where=where,
            observed=repr(name[:200]),
            expected=f"a path of at most {limits.PATH} bytes without `..`",
        )
    return text(path)


def _content(
    reader: Reader, member: TarMember, spool: Spool, budget: Budget, *, in_place: bool
) -> Content | None:
    if member.kind != b"0":
        return None
    place = IN_SPOOL
    if member.extents is not None:
        budget.hole(member.size - member.stored)
        found = spool.add(_unfolded(reader, member))
    elif in_place:
        digest = sha256_of(reader.parts(member.stored))
        found, place = Spooled(member.offset, member.stored, digest), IN_ARCHIVE
    else:
        found = spool.add(reader.parts(member.stored))
    return Content(place, found.offset, found.size, None, found.digest)


def _unfolded(reader: Reader, member: TarMember) -> Iterator[bytes]:
    at = 0
    for offset, length in [*(member.extents or ()), (member.size, 0)]:
        while at < offset:
            hole = _ZEROS[: offset - at]
            at += len(hole)
            yield hole
        yield from reader.parts(length)
        at += length


def _entry(path: str, member: TarMember, content: Content | None) -> Entry:
    target = None
    permissions = member.mode
    if member.kind == b"2":
        target, permissions = text(member.link), 0o777
    elif member.kind in b"34" and member.device != (0, 0):
        target = f"{member.device[0]}:{member.device[1]}"
    mode = _TYPES[member.kind] | permissions
    return Entry(path, mode, member.uid, member.gid, member.xattrs, target, content)
