"""Layers of a container image: each read once into an index, merged by the OCI whiteout rules."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from itertools import chain
from typing import NamedTuple

from otabuild.errors import InputError
from otabuild.rootfs.archive import Archive
from otabuild.rootfs.archive_index import ArchiveIndex, write_index
from otabuild.rootfs.decompress import Budget, decompressed
from otabuild.rootfs.entry import OPAQUE, Entry, Mark
from otabuild.rootfs.merge import merge
from otabuild.rootfs.stream import PackedEntries

_PREFIX = ".wh."
_OPAQUE_NAME = ".wh..wh..opq"
_AUFS = ".wh..wh."
"""The prefix of names in `/` for internal records of aufs; docker omits them, too."""
_NOT_FILES = {Mark.IMPLIED, Mark.LINK}


class Layer(NamedTuple):
    """A layer: SHA-256 (hex) of its stored and of its plain bytes, its stored bytes, its name."""

    digest: str
    diff_id: str
    chunks: Callable[[], Iterator[bytes]]
    where: str

    def kept(self, work: str) -> ArchiveIndex:
        """Return where the index of the layer is, or will be."""
        return ArchiveIndex(os.path.join(work, "layers"), f"{self.digest}-{self.diff_id[:32]}")


def read_layer(layer: Layer, work: str) -> ArchiveIndex:
    """Return the index of a layer; the layer is read only if its index is missing.

    Raises:
        InputError: the layer is damaged or hostile, or does not have the digests that the image
            promises.
    """
    index = layer.kept(work)
    if index.exists():
        return index
    stored, plain = hashlib.sha256(), hashlib.sha256()

    def check() -> None:
        for what, hasher, expected in (
            ("digest", stored, layer.digest),
            ("diff_id", plain, layer.diff_id),
        ):
            if hasher.hexdigest() != expected:
                raise InputError(
                    f"the layer does not have its {what}",
                    where=layer.where,
                    observed=hasher.hexdigest(),
                    expected=expected,
                )

    budget = Budget(layer.where)
    chunks = _hashed(decompressed(_hashed(layer.chunks(), stored), budget), plain)
    write_index(index, chunks, budget, layer=True, arrange=with_whiteouts, check=check)
    return index


def _hashed(chunks: Iterable[bytes], hasher: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk


def with_whiteouts(archive: Archive, where: str) -> Iterator[Entry]:
    """Yield the entries of a layer in path order.

    Whiteouts are at the path that they remove, opaque directories are marked. A hard link to a path
    outside the layer has the mode `Mark.LINK` and that path as its target.

    Raises:
        InputError: a whiteout is invalid.
    """
    # A whiteout concerns the layers below only, wherever it stands in the archive: engines apply it
    # before the layer's own entries. So the layer is complete before anything is taken away, and
    # order counts for nothing. A directory that is only there because a whiteout lies in it
    # (PASSED) says nothing about that path: it must not come into being by it.
    links = {
        path: Entry(path, Mark.LINK, target=target) for path, target in archive.outside.items()
    }
    entries, whiteouts = PackedEntries(), []
    for path, entry in chain(archive.entries.items(), links.items()):
        top = path.split("/")[1]
        if top.startswith(_AUFS) and top != _OPAQUE_NAME:
            continue
        if path.rpartition("/")[2].startswith(_PREFIX) and entry.mode not in _NOT_FILES:
            whiteouts.append(path)
        elif "/" + _PREFIX in path:
            raise _senseless(path, where)
        else:
            entries[path] = entry
    _mark_passed(entries)
    for path in whiteouts:
        _take_away(entries, path, where)
    return (entries[path] for path in sorted(entries))


def _mark_passed(entries: MutableMapping[str, Entry]) -> None:
    """Mark the implied directories that nothing is below but whiteouts."""
    needed, implied = {"", "/"}, []
    for path, entry in entries.items():
        if entry.mode == Mark.IMPLIED:
            implied.append(entry)
            continue
        while (path := path.rpartition("/")[0]) not in needed:
            needed.add(path)
    for entry in implied:
        if entry.path not in needed:
            entries[entry.path] = entry._replace(mode=Mark.PASSED)


def _take_away(entries: MutableMapping[str, Entry], path: str, where: str) -> None:
    """Let a whiteout take effect on its own layer; merging hides what is in those below."""
    folder, _, name = path.rpartition("/")
    hidden = f"{folder}/{name.removeprefix(_PREFIX)}"
    if name == _OPAQUE_NAME:
        hidden = folder or "/"
    elif name.startswith(_PREFIX * 2) or name.removeprefix(_PREFIX) in {"", ".", ".."}:
        raise _senseless(path, where)
    found = entries.get(hidden)
    if found is None or found.mode in {Mark.WHITEOUT, Mark.EMPTIED, Mark.PASSED}:
        # The layer itself has nothing there. What is gone stays gone, whichever of two whiteouts
        # comes first.
        emptied = name == _OPAQUE_NAME and (found is None or found.mode != Mark.WHITEOUT)
        entries[hidden] = Entry(hidden, Mark.EMPTIED if emptied else Mark.WHITEOUT)
    elif found.is_directory or found.mode == Mark.IMPLIED:
        # The layer has a directory there, which hides all below it. A whiteout takes the metadata
        # of the old one away, so an implied one becomes plain; an opaque mark takes away only what
        # the old one holds.
        mode = found.mode if found.is_directory or name == _OPAQUE_NAME else stat.S_IFDIR | 0o755
        entries[hidden] = found._replace(mode=mode, target=OPAQUE)
    elif name == _OPAQUE_NAME:
        raise _senseless(path, where)


def _senseless(path: str, where: str) -> InputError:
    return InputError(
        "the layer contains a whiteout that makes no sense",
        where=f"{where}: {path}",
        expected=f"{_PREFIX}NAME, or {_OPAQUE_NAME}",
        hint="build the image again without a file of such a name",
    )


def apply_layers(indexes: Sequence[ArchiveIndex]) -> Iterator[Entry]:
    """Yield the entries of an image, given its layers, the lowest first.

    Raises:
        InputError: the target of a hard link of a layer is neither in it nor in the layers below.
    """
    # A hard link to a file of a lower layer must share an inode with it, wherever path order puts
    # the two. So what such links lead to is looked up first, in a pass over the layers below that
    # the stack of an ordinary image never needs, and lower layers give these paths a link name of
    # their own, for the link to have the same.
    streams = [_Stream(index, number) for number, index in enumerate(indexes)]
    for number, stream in enumerate(streams):
        wanted = {
            entry.path: entry.target or ""
            for entry in stream.index.read()
            if entry.mode == Mark.LINK
        }
        if wanted:
            targets = set(wanted.values())
            for lower in streams[:number]:
                lower.named |= targets
            below = {
                entry.path: entry for entry in merge(streams[:number]) if entry.path in targets
            }
            stream.resolved = {
                path: _linked(path, below.get(target), target) for path, target in wanted.items()
            }
    return merge(streams)


class _Stream:
    """The entries of one layer.

    Its hard links differ from those of other layers, except for links between layers.

    `resolved` has the entries of its links to lower layers, `named` the paths that upper layers
    link to.
    """

    def __init__(self, index: ArchiveIndex, number: int) -> None:
        self.index = index
        self.resolved: dict[str, Entry] = {}
        self.named: set[str] = set()
        self._number = number

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.index.read():
            if entry.mode == Mark.LINK:
                yield self.resolved[entry.path]
            elif entry.link is not None or entry.path in self.named:
                yield entry._replace(link=f"{self._number}:{entry.link or entry.path}")
            else:
                yield entry


def _linked(path: str, found: Entry | None, target: str) -> Entry:
    """Return the entry of a hard link to a path in a lower layer."""
    if found is None or found.is_directory or found.mode == Mark.IMPLIED:
        raise InputError(
            "a layer contains a hard link to a missing file",
            where=path,
            observed=target,
            hint="build the image again; its layers may be incomplete or out of order",
        )
    return found._replace(path=path)
