"""A file of an image to be written, and its bytes, checked while they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from otabuild.errors import IntegrityError, StorageError
from otabuild.storage import fs

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an image: bytes in memory, `size` bytes of a file from `offset` on, or a folder (its name ends in `/`).

    While a file is copied, its content is checked against `digest` (32 bytes); such a file is a blob of the cache.
    """

    name: str
    size: int = 0
    content: bytes = b""
    file: str | None = None
    offset: int = 0
    digest: bytes | None = None


class DamagedBlobError(IntegrityError):
    """A stored blob that is missing or does not match its name; `digest` identifies it."""

    def __init__(self, digest: bytes, path: str) -> None:
        super().__init__("a stored blob is missing or damaged", where=path, hint="build again: it will be recreated")
        self.digest = digest


def arrange(members: Iterable[Member]) -> list[Member]:
    """Return all members, with folders, in the order of the format (section 1): index.json, index.jwt, byte order."""
    by_name = {member.name: member for member in members}
    for name in list(by_name):
        for end, char in enumerate(name):
            if char == "/":
                by_name.setdefault(name[: end + 1], Member(name[: end + 1]))
    first = [by_name.pop(name) for name in ("index.json", "index.jwt") if name in by_name]
    return first + [by_name[name] for name in sorted(by_name, key=str.encode)]


def member_chunks(member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member in pieces; the last check comes after the last piece.

    Raises:
        DamagedBlobError: the file is missing, or its content does not have the member's size and digest.
        StorageError: a file without digest cannot be read, or changed its size.
    """
    if member.file is None:
        if member.content:
            yield member.content
        return
    digest, left = hashlib.sha256(), member.size
    try:
        source = os.open(member.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if member.digest is not None:
            raise DamagedBlobError(member.digest, member.file) from None
        raise fs.storage_error(error, "read", member.file) from None
    try:
        sound = True
        while sound and left:
            try:
                chunk = os.pread(source, min(left, _CHUNK), member.offset + member.size - left)
            except OSError as error:
                raise fs.storage_error(error, "read", member.file) from error
            sound = bool(chunk)
            left -= len(chunk)
            digest.update(chunk)
            yield chunk
    finally:
        os.close(source)
    if member.digest is not None and not (sound and digest.digest() == member.digest):
        raise DamagedBlobError(member.digest, member.file)
    if not sound:
        raise StorageError("the file changed while it was copied", where=member.file)
