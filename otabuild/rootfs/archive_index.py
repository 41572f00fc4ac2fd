"""The index of an archive, which is read once: its entries by path, beside its contents.

The name of an index consists of a digest and of the code version that made it, and an index never
changes. If an index with the right name exists, the archive need not be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple, Self

from otabuild.errors import InputError
from otabuild.rootfs.archive import Archive, read_archive
from otabuild.rootfs.decompress import Budget
from otabuild.rootfs.entry import IN_ARCHIVE, IN_SPOOL, Entry
from otabuild.rootfs.prefetch import prefetched
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.spool import Spool
from otabuild.rootfs.stream import DamagedEntriesError, read_entries, write_entries
from otabuild.storage import fs
from otabuild.version import __version__

STAMP = f"{__version__}-3"
"""The version of the code that makes indexes. Another version, or an edited one, may read archives
differently."""


class ArchiveIndex(NamedTuple):
    """The two files of an index, `<stem>.entries` and `<stem>.spool`, in the work directory."""

    folder: str
    name: str

    @property
    def stem(self) -> str:
        """The name, including the version that made it."""
        return f"{self.name}.{STAMP}"

    @property
    def entries_path(self) -> str:
        """Path of the file of entries, which are in path order."""
        return os.path.join(self.folder, f"{self.stem}.entries")

    @property
    def spool_path(self) -> str:
        """Path of the file of contents."""
        return os.path.join(self.folder, f"{self.stem}.spool")

    def exists(self) -> bool:
        """Whether both are there, as plain files: opening a pipe would wait for ever."""
        return os.path.isfile(self.entries_path) and os.path.isfile(self.spool_path)

    @classmethod
    def of(cls, path: str) -> Self:
        """Return the index that one of these files belongs to."""
        return cls(os.path.dirname(path), os.path.basename(path).partition(".")[0])

    def remove(self) -> None:
        """Remove both files. They are rebuilt when needed."""
        for path in (self.entries_path, self.spool_path):
            fs.unlink(path, missing_ok=True)

    def read(self, plain_path: str = "") -> Iterator[Entry]:
        """Yield the entries; `plain_path` is the archive itself if it is an uncompressed file.

        Raises:
            DamagedEntriesError: the file is damaged or missing.
        """
        places = {IN_SPOOL: os.path.abspath(self.spool_path), IN_ARCHIVE: plain_path}
        try:
            for entry in read_entries(_Reopened(self.entries_path)):
                content = entry.content
                if content is None:
                    yield entry
                else:
                    yield entry._replace(
                        content=content._replace(host_path=places[content.host_path])
                    )
        except (FileNotFoundError, KeyError):
            raise DamagedEntriesError(self.entries_path) from None


class _Reopened:
    """A file that is opened for each read.

    Thousands of layers are merged at once, more than a process may have open.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._position = 0

    def read(self, size: int) -> bytes:
        """Read on."""
        with open(self.name, "rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data


def by_path(archive: Archive, where: str) -> Iterable[Entry]:
    """Return the entries of a standalone archive.

    Raises:
        InputError: a hard link leads outside the archive.
    """
    for path, target in archive.outside.items():
        raise InputError(
            "the archive contains a hard link to a path that it does not contain",
            where=f"{where}: {path}",
            observed=target,
        )
    return (archive.entries[path] for path in sorted(archive.entries))


def write_index(
    index: ArchiveIndex,
    plain: Iterable[bytes],
    budget: Budget,
    *,
    in_place: bool = False,
    layer: bool = False,
    arrange: Callable[[Archive, str], Iterable[Entry]] = by_path,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Read an archive and write its index.

    Args:
        index: where to write it.
        plain: the uncompressed bytes of the archive.
        budget: limits what the archive may expand to.
        in_place: whether contents stay in the archive, because it is an uncompressed file.
        layer: whether it is a layer of an image.
        arrange: takes the entries of the archive (and its name, for messages) and puts them in path
            order.
        check: called after everything was read; raises if the archive is not the expected one.

    Raises:
        InputError: the archive is damaged or hostile; no index is written.
    """
    fs.makedirs(index.folder)
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(index.spool_path + ".otabuild-tmp"))
        out = stack.enter_context(Spool(index.entries_path + ".otabuild-tmp"))
        chunks = stack.enter_context(closing(prefetched(plain)))
        reader = Reader(chunks, budget.where)
        archive = read_archive(reader, spool, budget, in_place=in_place, layer=layer)
        # Before anything is kept: the digests of a layer are known now.
        check()
        write_entries(out, arrange(archive, budget.where))
        spool.keep(index.spool_path)
        out.keep(index.entries_path)
    for name in os.listdir(index.folder):
        if name.startswith(f"{index.name}.") and not name.startswith(index.stem):
            fs.unlink(os.path.join(index.folder, name))  # of another version
