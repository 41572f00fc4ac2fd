"""Merges several sources into one stream of entries."""

from __future__ import annotations

import heapq
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

from otabuild.errors import MisplacedEntryError
from otabuild.rootfs.entry import OPAQUE, Entry, Mark

_FOLDERS = {Mark.IMPLIED, Mark.PASSED}
_NOT_SAID = {Mark.EMPTIED, *_FOLDERS}


def merge(sources: Sequence[Iterable[Entry]], *, keep_links: bool = False) -> Iterator[Entry]:
    """Merge sources, the last one on top. Input and output are in path order.

    A directory over a directory keeps the content of both and takes the metadata of the upper one.
    Anything else hides everything below its path in lower sources; this includes a whiteout, which
    itself disappears. Hard links of different sources must have different names: see `apart`.

    Args:
        sources: the lowest first.
        keep_links: whether to refuse a directory over anything else, and the reverse. Sources that
            do not know of each other need this: the file, what the link leads to, or the whole
            directory, would be missing.

    Raises:
        MisplacedEntryError: a source, without a directory of its own there, places an entry below a
            path that is not a directory in a lower source, or removes an entry below a symlink; or,
            with `keep_links`, as said there.
    """
    # Trees may have millions of entries, so this is one pass that holds none of them. In path
    # order, what hides a path comes before all that it hides: `hidden` has each prefix (ending in
    # "/") below which sources under a number no longer count. "0" follows "/" in ASCII, so a path
    # from `prefix[:-1] + "0"` on has left the prefix for good.
    hidden: list[tuple[str, int]] = []
    tagged = [_tagged(entries, index) for index, entries in enumerate(sources)]
    for path, group in groupby(heapq.merge(*tagged, key=itemgetter(0, 1)), key=itemgetter(0)):
        hidden = [(prefix, floor) for prefix, floor in hidden if path < prefix[:-1] + "0"]
        floor = max((floor for prefix, floor in hidden if path.startswith(prefix)), default=0)
        visible = [item for item in group if item[1] >= floor]
        ends = [
            index for _, index, entry in visible if not _is_folder(entry) or entry.target == OPAQUE
        ]
        if ends and ends[-1]:
            hidden.append((path.rstrip("/") + "/", ends[-1]))
        gone = max(
            (index for _, index, entry in visible if entry.mode == Mark.WHITEOUT), default=-1
        )
        found = [entry for _, index, entry in visible if index > gone]
        top = _top(path, found) if found else None
        if keep_links and len(found) > 1:
            _check_links(path, found)
        if top is not None:
            yield top


def apart(entries: Iterable[Entry], name: object) -> Iterator[Entry]:
    """Make the hard-link names of a source distinct, by a name of the source."""
    for entry in entries:
        yield entry if entry.link is None else entry._replace(link=f"{name}:{entry.link}")


def settled(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Turn directories that are still implied into real ones with mode 0755."""
    for entry in entries:
        yield entry._replace(mode=stat.S_IFDIR | 0o755) if entry.mode == Mark.IMPLIED else entry


def _tagged(entries: Iterable[Entry], index: int) -> Iterator[tuple[str, int, Entry]]:
    return ((entry.path, index, entry) for entry in entries)


def _is_folder(entry: Entry) -> bool:
    return entry.mode in _FOLDERS or entry.is_directory


def _top(path: str, found: list[Entry]) -> Entry | None:
    """Return the resulting entry at a path, if any.

    `found` has the entries there from the lowest to the uppermost.
    """
    last = found[-1]
    top = last if last.mode not in _NOT_SAID else _below(path, last, found)
    if top is not None and top.target == OPAQUE and _is_folder(top):
        return top._replace(target=None)
    return top


def _below(path: str, last: Entry, found: list[Entry]) -> Entry | None:
    """Return the resulting entry, if any, where the uppermost source has no such directory."""
    top = next((entry for entry in reversed(found) if entry.mode not in _NOT_SAID), None)
    adds = last.mode == Mark.IMPLIED
    if top is None:
        return next((entry for entry in reversed(found) if entry.mode == Mark.IMPLIED), None)
    if top.is_symlink or (adds and not top.is_directory):
        raise MisplacedEntryError(
            f"a source {'places entries' if adds else 'takes something away'} below a path that is "
            "not a directory in an earlier source",
            where=path,
            observed="a symlink" if top.is_symlink else "a file",
            hint=(
                "give the source a directory of that path, or place its entries "
                "where the link leads"
            ),
        )
    return top


def _check_links(path: str, found: list[Entry]) -> None:
    """Refuse a directory over anything else, and anything else over a directory."""
    said = [entry for entry in found if entry.mode not in _NOT_SAID]
    for lower, upper in pairwise(said):
        if lower.is_directory and not upper.is_directory:
            raise MisplacedEntryError(
                "a source has a file or link where an earlier source has a "
                "directory, which would be lost",
                where=path,
                observed=f"a link to {upper.target}" if upper.is_symlink else "no directory",
                hint="give it another name; to replace the whole directory, exclude it",
            )
        if upper.is_directory and not lower.is_directory:
            raise MisplacedEntryError(
                "a source has a directory where an earlier source has a file or "
                "link, which would be lost",
                where=path,
                observed=f"a link to {lower.target}" if lower.is_symlink else "no directory",
                hint=_way_out(path, lower),
            )


def _way_out(path: str, lower: Entry) -> str:
    if not lower.is_symlink:
        return "give it another name; to replace the file by an overlay, exclude it"
    leads = posixpath.normpath(posixpath.join(posixpath.dirname(path), lower.target or ""))
    return (
        f"move its entries to {leads}, where the link leads; to replace the link "
        "by an overlay, exclude it"
    )
