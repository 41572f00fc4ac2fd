"""Reads the content of an entry: returns exactly the scanned bytes, or raises an error."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator

from otabuild.errors import InputChangedError, InputUnreadableError
from otabuild.format.digest import sha256_of
from otabuild.rootfs.entry import Content, StatKey

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHUNK = 1 << 20
_TIMES = range(-(1 << 63), 1 << 63)


class LostContentError(InputChangedError):
    """A content does not, or no longer, match its digest: its file or record is damaged."""

    def __init__(self, content: Content) -> None:
        super().__init__(
            "content is no longer what it was when it was hashed",
            where=content.host_path,
            hint="build again when nothing writes to the rootfs any more",
        )
        self.content = content


def load_content(content: Content) -> bytes:
    """Return all bytes of a content at once.

    The result is exactly what was scanned: either the file had the scanned stat key before the
    first and after the last byte, or the bytes have the digest of the content.

    Raises:
        InputChangedError: the file was replaced or changed since the scan; the message names it.
        InputUnreadableError: the operating system does not allow reading it.
    """
    path = content.host_path
    try:
        fd = _open(path)
        try:
            _check_unchanged(fd, content)
            data = os.pread(fd, content.size, content.offset)
            while len(data) < content.size:
                more = os.pread(fd, content.size - len(data), content.offset + len(data))
                if not more:
                    raise _changed(content)
                data += more
            _check_unchanged(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(content, error) from error
    if content.digest is not None and hashlib.sha256(data).digest() != content.digest:
        raise LostContentError(content)
    return data


def read_content(content: Content, chunk: int = CHUNK) -> Iterator[bytes]:
    """Yield a content in pieces of at most `chunk` bytes.

    The last check comes after the last piece.

    Raises:
        InputChangedError: as for `load_content`; the caller must discard the pieces it already has.
        InputUnreadableError: the operating system does not allow reading it.
    """
    hasher = None if content.digest is None else hashlib.sha256()
    try:
        fd = _open(content.host_path)
        try:
            _check_unchanged(fd, content)
            position, end = content.offset, content.offset + content.size
            while position < end:
                data = os.pread(fd, min(chunk, end - position), position)
                if not data:
                    raise _changed(content)
                position += len(data)
                if hasher is not None:
                    hasher.update(data)
                yield data
            _check_unchanged(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(content, error) from error
    if hasher is not None and hasher.digest() != content.digest:
        raise LostContentError(content)


def with_digest(content: Content) -> Content:
    """Return a content with the digest of its bytes, which are read now.

    Raises:
        InputChangedError, InputUnreadableError: as for `read_content`.
    """
    return content._replace(digest=sha256_of(read_content(content)))


def is_readable(content: Content) -> bool:
    """Whether permissions allow reading the content. Other problems show when it is read."""
    try:
        os.close(_open(content.host_path))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def stat_key(status: os.stat_result) -> StatKey:
    """Return what distinguishes this state of a file from any other.

    Times outside of what 64 bits of nanoseconds can tell (the years 1678 to 2262), as dead clocks
    and zero times of other languages leave them, count as the nearest that can be told.
    """
    times = status.st_mtime_ns, status.st_ctime_ns
    if not (times[0] in _TIMES and times[1] in _TIMES):  # asked first: this runs for every file
        times = (
            min(max(times[0], _TIMES.start), _TIMES.stop - 1),
            min(max(times[1], _TIMES.start), _TIMES.stop - 1),
        )
    return StatKey(status.st_dev, status.st_ino, status.st_size, *times)


def _open(path: str) -> int:
    """Open a host file. If the path is longer than the system accepts at once, open it in steps."""
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    folder, _, name = path.rpartition("/")
    step = os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_CLOEXEC)
    try:
        for part in filter(None, folder.split("/")):
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=step)
            os.close(step)
            step = below
        return os.open(name, _FLAGS, dir_fd=step)
    finally:
        os.close(step)


def _check_unchanged(fd: int, content: Content) -> None:
    if content.stat_key is not None and stat_key(os.fstat(fd)) != content.stat_key:
        raise _changed(content)


def _changed(content: Content) -> InputChangedError:
    if content.stat_key is None:
        return LostContentError(content)
    return InputChangedError(
        "the file changed after it was scanned",
        where=content.host_path,
        hint="build again when nothing writes to the rootfs any more",
    )


def _unreadable(content: Content, error: OSError) -> InputChangedError | InputUnreadableError:
    if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return _changed(content)
    return InputUnreadableError(
        "cannot read the file", where=content.host_path, observed=error.strerror
    )
