"""Several sources laid over each other, as one stream of entries."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from otabuild.errors import InputError
from otabuild.rootfs.entry import Entry

IMPLIED = 0
"""The mode of a directory that a source places entries in, but says nothing of."""

_Tagged = tuple[str, int, Entry]


def merge(sources: Sequence[Iterable[Entry]]) -> Iterator[Entry]:
    """Lay sources over each other, the last one on top; takes and gives path order.

    A directory over a directory keeps what lies in both and takes the metadata of the upper one. What is no directory
    hides everything below its path in the sources under it. Hard links stay within their source.

    Raises:
        InputError: a source places an entry below something that is no directory in a lower source, without a
            directory of its own there.
    """
    if len(sources) == 1:
        yield from sources[0]
        return
    hidden: list[tuple[str, int]] = []
    tagged = (_tag(entries, index) for index, entries in enumerate(sources))
    for path, group in groupby(heapq.merge(*tagged, key=itemgetter(0, 1)), key=itemgetter(0)):
        hidden = [(prefix, floor) for prefix, floor in hidden if path < prefix[:-1] + "0"]
        floor = max((floor for prefix, floor in hidden if path.startswith(prefix)), default=0)
        visible = [item for item in group if item[1] >= floor]
        if not visible:
            continue
        yield _top(path, visible)
        blocks = [index for _, index, entry in visible if not _is_folder(entry)]
        if blocks and blocks[-1]:
            hidden.append((path + "/", blocks[-1]))


def _tag(entries: Iterable[Entry], index: int) -> Iterator[_Tagged]:
    for entry in entries:
        own = entry if entry.link is None else entry._replace(link=f"{index}:{entry.link}")
        yield entry.path, index, own


def _is_folder(entry: Entry) -> bool:
    return entry.mode == IMPLIED or entry.is_directory


def _top(path: str, visible: list[_Tagged]) -> Entry:
    entry = visible[-1][2]
    for _, _, lower in reversed(visible):
        if lower.mode != IMPLIED:
            if entry.mode == IMPLIED and not lower.is_directory:
                raise InputError(
                    "a source places entries below what is no directory in an earlier source",
                    where=path,
                    observed="a symlink" if lower.is_symlink else "a file",
                    hint="give the source a directory of that path, or place its entries where the link leads",
                )
            return lower
    return entry
