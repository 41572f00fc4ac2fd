"""The entries that differ between two payloads: merges two streams in path order."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from otabuild.format.capabilities import format_capability
from otabuild.format.file_table import CAPABILITY
from otabuild.image.tables import FileEntry

SPECIAL_BITS = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid", stat.S_ISVTX: "sticky"}


class Aspect(NamedTuple):
    """One aspect that differs, before and after; None on a side that does not have it."""

    name: str
    before: str | None
    after: str | None

    def to_value(self) -> dict[str, str | None]:
        """Return the aspect as plain JSON values."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A path that was added, removed or changed, with all differences if it was changed."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: FileEntry | None
    after: FileEntry | None
    aspects: tuple[Aspect, ...] = ()

    @property
    def gains_privileges(self) -> bool:
        """Whether a file has a special bit or capability that it did not have before."""
        before = () if self.before is None else privileges(self.before)
        after = () if self.after is None else privileges(self.after)
        return not set(after) <= set(before)

    def to_value(self) -> dict[str, Any]:
        """Return the change as plain JSON values."""
        value: dict[str, Any] = {"path": self.path, "change": self.kind}
        if self.before is not None:
            value["before"] = self.before.to_value()
        if self.after is not None:
            value["after"] = self.after.to_value()
        if self.aspects:
            value["differs-in"] = [aspect.to_value() for aspect in self.aspects]
        return value


def privileges(entry: FileEntry) -> list[str]:
    """Return the special bits and the capabilities of a file; none for other entries."""
    if entry.digest is None:
        return []
    found = [name for bit, name in SPECIAL_BITS.items() if entry.mode & bit]
    if entry.packed_xattrs is not None and CAPABILITY in (xattrs := entry.xattrs):
        found.append(format_capability(xattrs[CAPABILITY]))
    return found


_facts = attrgetter("mode", "uid", "gid", "packed_xattrs", "meta", "digest", "size")
"""What can differ in an entry; ids belong to their table. One call in C, because trees are large
and mostly the same."""


class _Links:
    """Groups of hard links, collected while iterating over the entries of one payload."""

    def __init__(self) -> None:
        self._paths: dict[int, list[str]] = {}
        self._inodes: dict[str, int] = {}

    def watch(self, entries: Iterable[FileEntry]) -> Iterator[FileEntry]:
        for entry in entries:
            if entry.links_count is not None:
                self._paths.setdefault(entry.inode_id, []).append(entry.path)
                self._inodes[entry.path] = entry.inode_id
            yield entry

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Map each path that shares its inode to all paths of its group, including itself."""
        groups = {path: tuple(self._paths[inode]) for path, inode in self._inodes.items()}
        return {path: group for path, group in groups.items() if len(group) > 1}


def diff_entries(
    before: Iterable[FileEntry], after: Iterable[FileEntry]
) -> tuple[EntryChange, ...]:
    """Return the differences of two streams in path order, in that order."""
    old_links, new_links = _Links(), _Links()
    changes: dict[str, EntryChange] = {}
    kept: dict[str, tuple[FileEntry, FileEntry]] = {}
    for old, new in _merge(old_links.watch(before), new_links.watch(after)):
        if old is None or new is None:
            entry = old or new
            assert entry is not None
            changes[entry.path] = EntryChange(
                entry.path, "removed" if new is None else "added", old, new
            )
            continue
        if _facts(old) != _facts(new) and (aspects := tuple(_aspects(old, new))):
            changes[old.path] = EntryChange(old.path, "changed", old, new, aspects)
        if old.links_count is not None or new.links_count is not None:
            # Only at the end is it known which paths share the inode, and most of them are the same
            # on both sides.
            kept[old.path] = old, new
    _compare_links(changes, kept, old_links.groups(), new_links.groups())
    return tuple(changes[path] for path in sorted(changes))


def _merge(
    before: Iterable[FileEntry], after: Iterable[FileEntry]
) -> Iterator[tuple[FileEntry | None, FileEntry | None]]:
    """Yield pairs of entries with the same path, with None for a side without it."""
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            yield old, None
            old = next(olds, None)
        elif old is None or new[0] < old[0]:
            yield None, new
            new = next(news, None)
        else:
            yield old, new
            old, new = next(olds, None), next(news, None)


def _compare_links(
    changes: dict[str, EntryChange],
    kept: dict[str, tuple[FileEntry, FileEntry]],
    old_groups: dict[str, tuple[str, ...]],
    new_groups: dict[str, tuple[str, ...]],
) -> None:
    """Add differences in hard links to the changes."""
    for path in sorted(old_groups.keys() | new_groups.keys()):
        old, new = old_groups.get(path), new_groups.get(path)
        known = changes.get(path)
        if old == new or (known is not None and known.kind != "changed"):
            continue
        links = Aspect("hard links", joined(old), joined(new))
        if known is None:
            changes[path] = EntryChange(path, "changed", *kept[path], (links,))
        else:
            changes[path] = replace(known, aspects=(*known.aspects, links))


def joined(texts: tuple[str, ...] | None) -> str | None:
    """Return texts on one line; None of None."""
    return None if texts is None else ", ".join(texts)


def _aspects(old: FileEntry, new: FileEntry) -> Iterator[Aspect]:
    """Yield everything except hard links that differs in an entry."""
    old_kind, new_kind = (str(entry.to_value()["type"]) for entry in (old, new))
    if old_kind != new_kind:
        yield Aspect("type", old_kind, new_kind)
    if old.digest != new.digest:
        yield Aspect("content", _size(old), _size(new))
    if old.meta != new.meta:
        yield Aspect("target", old.target, new.target)
    if stat.S_IMODE(old.mode) != stat.S_IMODE(new.mode):
        yield Aspect("mode", *(f"{stat.S_IMODE(entry.mode):04o}" for entry in (old, new)))
    for bit, name in SPECIAL_BITS.items():
        if (old.mode ^ new.mode) & bit:
            yield Aspect(name, *("yes" if entry.mode & bit else "no" for entry in (old, new)))
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield Aspect("owner", *(f"{entry.uid}:{entry.gid}" for entry in (old, new)))
    if old.packed_xattrs != new.packed_xattrs:
        yield from _xattr_aspects(old.xattrs, new.xattrs)


def _size(entry: FileEntry) -> str | None:
    return None if entry.digest is None else f"{entry.size} bytes"


def _xattr_aspects(old: dict[str, bytes], new: dict[str, bytes]) -> Iterator[Aspect]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            shown = "capabilities" if name == CAPABILITY else f"attribute {name}"
            yield Aspect(shown, _xattr_text(name, before), _xattr_text(name, after))


def _xattr_text(name: str, value: bytes | None) -> str | None:
    if value is None:
        return None
    return format_capability(value) if name == CAPABILITY else value.hex()
