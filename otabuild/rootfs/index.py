"""The index of an archive: its entries in path order, kept beside its contents, so that it is read only once.

An index is named by a digest and by what made it, and never changes; who finds one of that name need not look at the
archive.
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

STAMP = f"{__version__}-2"
"""What makes indexes: another version, or the same under development, may read an archive in another way."""


class Index(NamedTuple):
    """The two files of an index, `<stem>.entries` and `<stem>.spool`, in a folder of the work directory."""

    folder: str
    name: str

    @property
    def stem(self) -> str:
        """The name, and what made it."""
        return f"{self.name}.{STAMP}"

    @property
    def entries_path(self) -> str:
        """The entries, in path order."""
        return os.path.join(self.folder, f"{self.stem}.entries")

    @property
    def spool_path(self) -> str:
        """The contents."""
        return os.path.join(self.folder, f"{self.stem}.spool")

    def exists(self) -> bool:
        """Whether both files are there."""
        return os.path.exists(self.entries_path) and os.path.exists(self.spool_path)

    @classmethod
    def of(cls, path: str) -> Self:
        """The index that one of these files belongs to."""
        return cls(os.path.dirname(path), os.path.basename(path).partition(".")[0])

    def remove(self) -> None:
        """Remove both files; whoever needs them next makes them anew."""
        for path in (self.entries_path, self.spool_path):
            fs.unlink(path, missing_ok=True)

    def read(self, plain_path: str = "") -> Iterator[Entry]:
        """The entries; `plain_path` is the archive itself where it is a file that is not compressed.

        Raises:
            DamagedEntriesError: the file is damaged or missing.
        """
        places = {IN_SPOOL: os.path.abspath(self.spool_path), IN_ARCHIVE: plain_path}
        try:
            with open(self.entries_path, "rb") as file:
                for entry in read_entries(file):
                    content = entry.content
                    if content is None:
                        yield entry
                    else:
                        yield entry._replace(content=content._replace(host_path=places[content.host_path]))
        except (FileNotFoundError, KeyError):
            raise DamagedEntriesError(self.entries_path) from None


def by_path(archive: Archive, where: str) -> Iterable[Entry]:
    """The entries of an archive that stands for itself.

    Raises:
        InputError: a hard link leads out of it.
    """
    for path, target in archive.outside.items():
        raise InputError(
            "the archive holds a hard link to what it does not hold", where=f"{where}: {path}", observed=target
        )
    return (archive.entries[path] for path in sorted(archive.entries))


def write_index(
    index: Index,
    plain: Iterable[bytes],
    budget: Budget,
    *,
    in_place: bool = False,
    layer: bool = False,
    arrange: Callable[[Archive, str], Iterable[Entry]] = by_path,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Read an archive and keep its index.

    Args:
        index: where it is to lie.
        plain: the bytes of the archive, not compressed.
        budget: counts what the archive unfolds to.
        in_place: whether contents stay in the archive, because it is a file that is not compressed.
        layer: whether it is a layer of an image.
        arrange: brings the entries of the archive (and its name, for messages) into path order.
        check: called when everything was read; raises where the archive turned out not to be what it should.

    Raises:
        InputError: the archive is damaged or hostile; nothing is kept then.
    """
    fs.makedirs(index.folder)
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(index.spool_path + ".otabuild-tmp"))
        out = stack.enter_context(Spool(index.entries_path + ".otabuild-tmp"))
        chunks = stack.enter_context(closing(prefetched(plain)))
        reader = Reader(chunks, budget.where)
        archive = read_archive(reader, spool, budget, in_place=in_place, layer=layer)
        check()
        write_entries(out, arrange(archive, budget.where))
        spool.keep(index.spool_path)
        out.keep(index.entries_path)
    for name in os.listdir(index.folder):
        if name.startswith(f"{index.name}.") and not name.startswith(index.stem):
            fs.unlink(os.path.join(index.folder, name))  # of another version
