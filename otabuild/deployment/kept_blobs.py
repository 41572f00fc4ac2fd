"""Blobs of a remote image, kept beside the target so that a deployment can go on after a kill.

A blob is fetched into a file with `.part` at the end of its name, hashed, and renamed to its
digest. What a killed run left is taken up: whole blobs after hashing, parts by asking for the rest.
A part that turns out wrong is fetched again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from otabuild.errors import IntegrityError, OtabuildError, StateError, StorageError
from otabuild.format.digest import Blob, blob_name
from otabuild.image.image import Image
from otabuild.storage import files, fs, fs_at
from otabuild.storage.backend import Backend, BackendFile, Wanted, extent, range_of, reading
from otabuild.storage.lock import try_lock

_BLOBS = "blobs/sha256/"
_REQUESTS = 16


class KeptBlobs(Backend):
    """The files of an image, whose blobs are fetched once into a folder."""

    knows_sizes = False

    def __init__(self, source: Backend, folder: str) -> None:
        """Use a folder, which is made if it does not exist.

        Raises:
            StateError: the folder may be somebody else's.
            StorageError: it cannot be made.
        """
        super().__init__(source.path)
        self.lists_files, self.lists_blobs = source.lists_files, source.lists_blobs
        self._source = source
        self._folder = folder
        self._fetched: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._folder_fd = _open_own(folder)
        self._threads = ThreadPoolExecutor(_REQUESTS)

    def fetch(self, blobs: Iterable[Blob]) -> None:
        """Begin to fetch blobs in the order in which they are named; readers wait for theirs."""
        for blob in blobs:
            self._begin(blob_name(blob.digest), blob.size)

    def expect(self, file: Wanted) -> None:
        """See `Backend`."""
        self._begin(*file)

    def _begin(self, name: str, size: int | None) -> Future[None]:
        with self._lock:
            if name not in self._fetched:
                self._fetched[name] = self._threads.submit(self._fetch, name, size)
            return self._fetched[name]

    def _fetch(self, name: str, size: int | None) -> None:
        due = name.removeprefix(_BLOBS)
        path = os.path.join(self._folder, due)
        if os.path.exists(path) and files.hash_file(path) == due:
            return
        part = f"{path}.part"
        for is_last in (not os.path.exists(part), True):
            try:
                self._go_on(name, part, size)
                if files.hash_file(part) == due:
                    fs.rename(part, path)
                    return
                error: OtabuildError = IntegrityError("digest differs from its name", where=name)
            except IntegrityError as raised:
                error = raised
            # Also a part of another run may be wrong, or longer than the blob.
            fs.unlink(part, missing_ok=True)
            if is_last:
                raise error

    def _go_on(self, name: str, part: str, size: int | None) -> None:
        with files.appending(part) as (fd, there):
            for chunk in self._source.chunks(name, there, size):
                fs.write(fd, chunk, part)

    def whole(self, name: str, size: int | None) -> Iterator[bytes]:
        """See `Backend`."""
        if name.startswith(_BLOBS):
            self._begin(name, size)
        return self.chunks(name)

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Backend`."""
        if not name.startswith(_BLOBS):
            yield from self._source.chunks(name, start, end)
            return
        self._begin(name, None).result()
        path = os.path.join(self._folder, name.removeprefix(_BLOBS))
        with reading(name):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with fs.closing_fd(fd):
            yield from extent(fd, *range_of(os.fstat(fd).st_size, start, end, name), name)

    def members(self) -> Iterator[BackendFile]:
        """See `Backend`."""
        return self._source.members()

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        return self._source.size(name)

    def read(self, name: str, limit: int) -> bytes | None:
        """See `Backend`."""
        return self._source.read(name, limit)

    def total_size(self) -> int | None:
        """See `Backend`."""
        return self._source.total_size()

    def traffic(self) -> tuple[int, int] | None:
        """See `Backend`."""
        return self._source.traffic()

    def end(self, *, keep: bool) -> None:
        """Give up what is being fetched; keep the folder for the next run, or remove it."""
        self._threads.shutdown(cancel_futures=True)
        if not keep:
            fs.remove_tree(self._folder)
        os.close(self._folder_fd)

    def close(self) -> None:
        """See `Backend`."""
        self._source.close()


def _open_own(folder: str) -> int:
    """Make a folder that only this user may change, or make sure that it is one, and lock it."""
    if not os.path.lexists(folder):
        fs.mkdir(folder, 0o700)
    with reading(folder):
        fd = os.open(folder, fs_at.DIRECTORY)
    try:
        _check_own(os.fstat(fd), folder)
        if not try_lock(fd):
            busy = "another deployment is writing to this target"
            raise StateError(busy, where=folder, hint="let it finish")  # noqa: TRY301 as the check
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_own(status: os.stat_result, folder: str) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StateError(
            "a folder of somebody else is in the way of what is fetched",
            where=folder,
            observed=f"owner {status.st_uid}, mode {status.st_mode:o}",
            hint="remove it, or name another target",
        )


@contextmanager
def keeping(image: Image, target: str) -> Iterator[KeptBlobs | None]:
    """Keep what is fetched of a remote image beside a target until the block ends.

    The folder `.NAME.otabuild-fetched` is removed, unless the network or this machine was in the
    way: then the next run goes on with it, or removes it if its image is on this machine. Nothing
    but index.json and index.jwt should have been read of the image before.

    Raises:
        StateError, StorageError: the folder cannot be used.
    """
    if not image.source.is_remote:
        yield None
        drop_left(target)
        return
    source, kept = image.source, KeptBlobs(image.source, _folder_of(target))
    image.read_from(kept)
    keep = True
    try:
        yield kept
        keep = False
    except OtabuildError as error:
        keep = isinstance(error, StorageError)
        raise
    finally:
        image.read_from(source)
        kept.end(keep=keep)


def drop_left(target: str) -> None:
    """Remove what a killed run kept beside a finished target, unless a deployment uses it."""
    folder = _folder_of(target)
    if not os.path.lexists(folder):
        return
    with suppress(StateError, StorageError), fs.closing_fd(_open_own(folder)):
        fs.remove_tree(folder)


def _folder_of(target: str) -> str:
    parent, name = os.path.split(target.rstrip("/"))
    return os.path.join(parent, f".{name}.otabuild-fetched")
