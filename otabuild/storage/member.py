"""A file of an image to be written, and its bytes, checked while they are read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from otabuild.errors import ContainerError, IntegrityError


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an image, or a folder (its name ends in `/`).

    Attributes:
        name: such as `blobs/sha256/<hex>`.
        size: in bytes.
        read: yields the bytes in parts of at most 1 MiB.
        digest: the SHA-256 (32 bytes) that the bytes must have when they are copied; None for what
            we just made.
    """

    name: str
    size: int = 0
    read: Callable[[], Iterable[bytes]] = tuple
    digest: bytes | None = None


def document(name: str, content: bytes) -> Member:
    """Return a file of the image whose bytes are in memory."""
    return Member(name, len(content), lambda: (content,))


class DamagedBlobError(IntegrityError):
    """A stored blob that is missing or does not match its name; `digest` identifies it."""

    def __init__(self, digest: bytes, path: str) -> None:
        super().__init__(
            "a stored blob is missing or damaged",
            where=path,
            hint="build again: it will be recreated",
        )
        self.digest = digest


def arrange(members: Iterable[Member]) -> list[Member]:
    """Return all members, with folders, in the format's order (section 1).

    index.json, then index.jwt, then byte order.
    """
    by_name = {member.name: member for member in members}
    folders = {name[: slash.end()] for name in by_name for slash in re.finditer("/", name)}
    by_name = {folder: Member(folder) for folder in folders} | by_name
    first = [by_name.pop(name) for name in ("index.json", "index.jwt") if name in by_name]
    return first + [by_name[name] for name in sorted(by_name, key=str.encode)]


def member_chunks(member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member in pieces; the last check comes after the last piece.

    Raises:
        DamagedBlobError: the content does not have the member's size and digest.
        OtabuildError: it cannot be read.
    """
    if member.digest is None:
        yield from member.read()
        return
    digest, left = hashlib.sha256(), member.size
    try:
        for chunk in member.read():
            digest.update(chunk)
            left -= len(chunk)
            if left < 0:  # never write beyond the place that was reserved
                break
            yield chunk
    except (IntegrityError, ContainerError) as error:
        raise DamagedBlobError(member.digest, member.name) from error
    if left or digest.digest() != member.digest:
        raise DamagedBlobError(member.digest, member.name)
