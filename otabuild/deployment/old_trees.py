"""Contents that trees on this machine already have, so that they need not be fetched or rebuilt.

What a tree holds is only a guess until a content is copied: the copy is hashed, wherever it came
from. So a tree may be damaged, or change while it is read, and it is never changed here.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple, Self

from otabuild.errors import InputError, StorageError
from otabuild.image.image import Image
from otabuild.image.tables import REGULARS
from otabuild.storage import fs, fs_at
from otabuild.storage.backend import CHUNK
from otabuild.storage.fs import StrPath

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Place(NamedTuple):
    """Where a content may be; the path is absolute within the tree."""

    tree: fs_at.FoldersOfThreads
    path: str


class OldTrees:
    """Trees that may have contents of a payload, for use in a `with` statement.

    With the images that the trees were deployed from, their file tables say where a content is.
    Without, files are found by size and then by digest, which reads them.
    """

    def __init__(self, trees: Sequence[StrPath], images: Sequence[Image] = ()) -> None:
        """Open trees.

        Args:
            trees: directories; the first that has a content gives it.
            images: open images that the trees were deployed from.

        Raises:
            InputError: a tree is not a directory.
            StorageError: a tree cannot be opened.
        """
        self._images = images
        self._places: defaultdict[bytes, list[_Place]] = defaultdict(list)
        with ExitStack() as stack:
            self._trees = [_opened(tree, stack) for tree in trees]
            self._close = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def open_tables(self) -> None:
        """Open the file tables of the images, for `look_for`.

        Raises:
            TableError, IntegrityError: one of them is invalid.
        """
        for image in self._images:
            for payload in image.payloads:
                payload.file_table  # noqa: B018 -- a cached property

    def look_for(self, wanted: Mapping[bytes, int]) -> None:
        """Find out which contents the trees may have.

        Args:
            wanted: sizes in bytes by digest.

        Raises:
            TableError, IntegrityError: the file table of one of the images is invalid.
        """
        if self._images:
            self._read_tables(wanted)
        else:
            for tree in self._trees:
                self._search(tree, wanted)

    def _read_tables(self, wanted: Mapping[bytes, int]) -> None:
        # A content may have several paths, and payloads may share them: each is kept once, in the
        # order of the tables.
        known: defaultdict[bytes, dict[str, None]] = defaultdict(dict)
        for image in self._images:
            for payload in image.payloads:
                for entry in payload.file_table.select(REGULARS, "WHERE size > 0"):
                    if entry.digest is not None and wanted.get(entry.digest) == entry.size:
                        known[entry.digest][entry.path] = None
        for digest, paths in known.items():
            self._places[digest] = [_Place(tree, path) for tree in self._trees for path in paths]

    def _search(self, tree: fs_at.FoldersOfThreads, wanted: Mapping[bytes, int]) -> None:
        by_size: defaultdict[int, set[bytes]] = defaultdict(set)
        for digest, size in wanted.items():
            by_size[size].add(digest)
        for path, size in _files(tree):
            if not by_size.get(size):  # every content of this size is found
                continue
            fd = _opened_file(_Place(tree, path), size)
            if fd is None:
                continue
            with fs.closing_fd(fd):
                found = _digest(fd, 0, size)
            if found in by_size[size]:
                by_size[size].discard(found)
                self._places[found].append(_Place(tree, path))

    def may_have(self, digest: bytes) -> bool:
        """Return whether one of the trees may have a content."""
        return digest in self._places

    def copy(self, digest: bytes, size: int, target: int, offset: int, path: str) -> bool:
        """Copy a content into a file open for both reading and writing; threads may share this.

        Args:
            digest: its SHA-256, 32 bytes.
            size: in bytes.
            target: descriptor to write to.
            offset: where the content begins in the target.
            path: of the target, for messages.

        Returns:
            Whether the target has the content now; if not, its bytes from the offset on may be
            anything.

        Raises:
            StorageError: the target could not be written.
        """
        for place in self._places.get(digest, ()):
            source = _opened_file(place, size)
            if source is None:
                continue
            with fs.closing_fd(source):
                _copy(source, target, offset, size, path)
            if _digest(target, offset, size) == digest:
                return True
        return False


def _opened(tree: StrPath, stack: ExitStack) -> fs_at.FoldersOfThreads:
    path = os.fspath(tree)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("not a directory whose files could be reused", where=path) from None
    except OSError as error:
        raise fs.storage_error(error, "open the tree", path) from error
    stack.callback(os.close, fd)
    return stack.enter_context(closing(fs_at.FoldersOfThreads(fd)))


def _files(tree: fs_at.FoldersOfThreads) -> Iterator[tuple[str, int]]:
    """Yield path and size of each regular file.

    Other file systems are not entered, and what cannot be read is left out.
    """
    device, todo = os.fstat(tree.own.at("/")).st_dev, ["/"]
    while todo:
        path = todo.pop()
        with suppress(OSError, StorageError), os.scandir(tree.own.at(path)) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                below = f"{path.rstrip('/')}/{entry.name}"
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    todo.append(below)
                elif stat.S_ISREG(status.st_mode):
                    yield below, status.st_size


def _opened_file(place: _Place, size: int) -> int | None:
    """Return a descriptor of a file of a tree; None if plain folders hold none of this size."""
    try:
        folder, name = place.tree.own.parent_of(place.path)
        fd = os.open(name, _FILE, dir_fd=folder)
    except (OSError, StorageError):
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return fd
    os.close(fd)
    return None


def _copy(source: int, target: int, offset: int, size: int, path: str) -> None:
    done = fs.copy_range(source, target, offset, size, path)
    while done < size:
        try:
            part = os.pread(source, min(CHUNK, size - done), done)
        except OSError:
            return  # the digest will tell
        if not part:
            return
        fs.pwrite(target, part, offset + done, path)
        done += len(part)


def _digest(fd: int, start: int, size: int) -> bytes | None:
    """Return the SHA-256 of a part of a file; None if it cannot be read to its end."""
    sha256, end = hashlib.sha256(), start + size
    while start < end:
        try:
            part = os.pread(fd, min(CHUNK, end - start), start)
        except OSError:
            return None
        if not part:
            return None
        sha256.update(part)
        start += len(part)
    return sha256.digest()
