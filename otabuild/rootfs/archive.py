"""The entries of one tar archive: its members as a tree, contents hashed on the way.

Nothing is ever extracted: contents lie in one file of the work directory (or in the archive itself, where it is not
compressed), names are only keys of a table. So no name, link or device of an archive can reach the build host.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator
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


class Archive(NamedTuple):
    """What an archive holds: entries by path, and hard links whose target it does not hold (path -> target)."""

    entries: dict[str, Entry]
    outside: dict[str, str]


def read_archive(reader: Reader, spool: Spool, budget: Budget, *, in_place: bool) -> Archive:
    """Read an archive front to back.

    Args:
        reader: the plain archive.
        spool: takes the contents.
        budget: counts what sparse files unfold to.
        in_place: whether contents stay in the archive and only sparse files go to the spool.

    Raises:
        InputError: the archive is damaged or hostile.
    """
    entries: dict[str, Entry] = {}
    links: dict[str, str] = {}
    origin: dict[str, int] = {}
    for member in read_members(reader):
        path = path_of(member.name, reader.where)
        previous = entries.pop(path, None)
        twice = (previous is not None or path in links) and origin.get(path) == member.archive
        if twice and not (member.kind == b"5" and previous is not None and previous.is_directory):
            raise InputError("the archive holds a path twice", where=f"{reader.where}: {path}")
        links.pop(path, None)
        origin[path] = member.archive
        if member.kind == b"1":
            links[path] = path_of(member.link, reader.where)
        else:
            content = _content(reader, member, spool, budget, in_place=in_place)
            entries[path] = _entry(path, member, content)
    _close_gaps(entries, links, origin, budget)
    return Archive(entries, _resolve(entries, links, reader.where))


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
        budget.unfold(member.size - member.stored)
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


def _close_gaps(entries: dict[str, Entry], links: dict[str, str], paths: Iterable[str], budget: Budget) -> None:
    """Add what is implied: `/`, and directories that only what lies in them tells of."""
    for path in paths:
        parent = path
        while parent != "/":
            parent = parent.rpartition("/")[0] or "/"
            if parent in entries or parent in links:
                break
            budget.unfold(len(parent))
            entries[parent] = Entry(parent, Mark.IMPLIED, 0, 0, {}, None, None, None)
    entries.setdefault("/", Entry("/", Mark.IMPLIED, 0, 0, {}, None, None, None))


def _resolve(entries: dict[str, Entry], links: dict[str, str], where: str) -> dict[str, str]:
    """Give every hard link the entry of its target; returns those whose target is outside, with their last target."""
    outside = {}
    for path in sorted(links):
        target, trail = links[path], [path]
        while target in links and target != path:
            trail.append(target)
            target = links[target]
            if len(trail) > len(links):
                break
        links |= dict.fromkeys(trail, target)
        found = entries.get(target)
        if target in links or (found is not None and (found.is_directory or found.mode == Mark.IMPLIED)):
            raise InputError(
                "the archive holds a hard link to itself or to a directory", where=f"{where}: {path}", observed=target
            )
        if found is None:
            outside[path] = target
            continue
        entries[target] = found._replace(link=target)
        entries[path] = found._replace(path=path, link=target)
    return outside
