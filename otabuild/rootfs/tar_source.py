"""A tar archive as a source: read once, whatever its compression, then served from its index."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack

from otabuild.errors import InputChangedError, InputError, InputUnreadableError, StorageError
from otabuild.format.digest import sha256_of
from otabuild.rootfs.archive_index import ArchiveIndex, write_index
from otabuild.rootfs.content import stat_key
from otabuild.rootfs.decompress import Budget, decompressed, is_compressed
from otabuild.rootfs.entry import RACY_NS, Entry, StatKey
from otabuild.rootfs.mounts import hides_changes
from otabuild.storage import fs
from otabuild.storage.files import read_file, write_file

CHUNK = 1 << 20
_STDIN = "-"
_RUN = secrets.token_hex(16)


class TarSource:
    """A tar archive.

    Args:
        location: its path, or `-` for standard input, which is read again in every run.
        work: a folder of the work directory for its index.
    """

    def __init__(self, location: str, work: str) -> None:
        self._location = location
        name = hashlib.sha256(os.fsencode(os.path.abspath(location))).hexdigest()[:32]
        self._folder = os.path.join(work, "tar", name)
        self._state_path = os.path.join(self._folder, "state")

    def fingerprint(self) -> str:
        """Return what shows that the archive is unchanged. Its index is checked when it is needed.

        Raises:
            InputError: the file does not exist.
        """
        if self._location == _STDIN:
            return _RUN
        with self._opened() as fd:
            return repr(tuple(stat_key(os.fstat(fd))))

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in path order.

        Raises:
            InputError: the archive is damaged or hostile, or changes while it is read.
        """
        yield from self._index().read(os.path.abspath(self._location))

    def holders(self, path: str) -> Iterator[str]:
        """Yield the archive if it has an entry at a path; standard input, gone by then, has any."""
        if self._location == _STDIN:
            yield "standard input"
        elif any(entry.path == path for entry in self.entries()):
            yield self._location

    def _index(self) -> ArchiveIndex:
        """Return the index of the archive as it is now; make it if it is missing."""
        if self._location == _STDIN:
            index = ArchiveIndex(self._folder, "stdin")
            budget = Budget("standard input")
            try:
                write_index(index, decompressed(read_chunks(0), budget), budget)
            except OSError as error:
                raise InputUnreadableError(
                    "cannot be read", where=budget.where, observed=error.strerror
                ) from error
            return index
        with self._opened() as fd:
            key = stat_key(os.fstat(fd))
            known, digest = self._state()
            hidden = hides_changes(self._location, work=self._folder)
            if known != key or hidden or not ArchiveIndex(self._folder, digest).exists():
                digest = _digest(fd)
                self._write(fd, ArchiveIndex(self._folder, digest))
                self._keep_state(fd, key, digest)
        return ArchiveIndex(self._folder, digest)

    def _write(self, fd: int, index: ArchiveIndex) -> None:
        if index.exists():
            return
        budget = Budget(self._location)
        in_place = not is_compressed(os.pread(fd, 16, 0))
        os.lseek(fd, 0, os.SEEK_SET)
        chunks = decompressed(read_chunks(fd), budget)
        write_index(index, chunks, budget, in_place=in_place)
        for name in os.listdir(self._folder):
            if name.endswith((".entries", ".spool")) and not name.startswith(index.stem):
                fs.unlink(os.path.join(self._folder, name))

    def _state(self) -> tuple[StatKey | None, str]:
        """Return the stat key and the digest that the archive had when it was last read."""
        try:
            key, digest = msgpack.unpackb(read_file(self._state_path))
            return StatKey(*key), str(digest)
        except (StorageError, ValueError, TypeError, msgpack.UnpackException):
            return None, ""

    def _keep_state(self, fd: int, key: StatKey, digest: str) -> None:
        if stat_key(os.fstat(fd)) != key:
            raise InputChangedError(
                "the archive changed while it was read", where=self._location, hint="build again"
            )
        write_file(self._state_path, bytes(msgpack.packb((key, digest))))
        # A change right after these times may leave them as they are (RACY_NS): then the next run
        # hashes again.
        now = os.stat(self._state_path).st_mtime_ns
        if max(key.mtime_ns, key.ctime_ns) > now - RACY_NS:
            write_file(self._state_path, bytes(msgpack.packb((key._replace(ctime_ns=-1), digest))))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self._location, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                "cannot open the archive", where=self._location, observed=error.strerror
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                hint = (
                    "a folder is given with `directory:`" if os.path.isdir(self._location) else ""
                )
                raise InputError("the archive is not a plain file", where=self._location, hint=hint)
            yield fd
        except OSError as error:
            raise InputUnreadableError(
                "cannot be read", where=self._location, observed=error.strerror
            ) from error
        finally:
            os.close(fd)


def read_chunks(fd: int) -> Iterator[bytes]:
    """Yield everything that can be read from a descriptor, in parts of 1 MiB."""
    while True:
        part = os.read(fd, CHUNK)
        while len(part) < CHUNK and (more := os.read(fd, CHUNK - len(part))):
            part += more
        if not part:
            return
        yield part


def _digest(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    return sha256_of(read_chunks(fd)).hex()
