"""Access to blobs by digest, verified while they are read (section 1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from otabuild.errors import IntegrityError
from otabuild.format.compat import STRICT, Compat
from otabuild.format.digest import Blob, Descriptor, blob_name, format_digest
from otabuild.image.ahead import FetchAhead
from otabuild.image.bounds import Bounds, ContentBudget
from otabuild.storage.backend import CHUNK, Backend, Wanted, check_limit

T = TypeVar("T")
Chunk = bytes | memoryview
_NAME = re.compile(r"blobs/sha256/([0-9a-f]{64})")


class Blobs:
    """The blobs of an image.

    Attributes:
        budget: what may still be spent on rebuilding contents from them.
        compat: whether what is read from the blobs may deviate from the format as early builders
            did.
        on_verified: called with the 32-byte digest of each blob that was read to its end and is
            good; called from any thread that reads.
    """

    def __init__(
        self, source: Backend, compat: Compat = STRICT, bounds: Bounds | None = None
    ) -> None:
        self._source = source
        self.compat = compat
        self.budget = ContentBudget(bounds or Bounds())
        self.on_verified: Callable[[bytes], None] | None = None
        self._ahead: FetchAhead | None = None

    @property
    def size_of(self) -> Callable[[bytes], int | None] | None:
        """The method `size`, or None if each answer would cost a request."""
        return self.size if self._source.knows_sizes else None

    @property
    def are_joined(self) -> bool:
        """Whether reading them in the order of their digests saves requests."""
        return self._source.is_remote and self._source.is_artifact

    def size(self, digest: bytes) -> int | None:
        """Return the stored size of a blob in bytes, or None if it is missing.

        Raises:
            IntegrityError: its path is not a regular file.
        """
        return self._source.size(blob_name(digest))

    def stored(self) -> dict[bytes, int] | None:
        """Return the size in bytes of every stored blob, by its digest; None if none are listed."""
        if not self._source.lists_blobs:
            return None
        named = ((_NAME.fullmatch(member.name), member.size) for member in self._source.members())
        return {bytes.fromhex(name[1]): size for name, size in named if name}

    def stream(self, digest: bytes, size: int | None = None) -> Iterator[Chunk]:
        """Yield the bytes of a blob in parts of at most 1 MiB, trusted only after the last part.

        Raises:
            IntegrityError: the blob is missing, or has the wrong size or digest.
            StorageError: the operating system could not read it.
        """
        name = blob_name(digest)
        # Where a place knows sizes at once, a wrong one is told before a byte is read.
        if size is not None and self._source.knows_sizes:
            stored = self._source.size(name)
            if stored is not None and stored != size:
                raise IntegrityError(
                    "size differs from what refers to it",
                    where=name,
                    observed=stored,
                    expected=size,
                )
        content = None if self._ahead is None else self._ahead.take(digest)
        chunks = self._source.whole(name, size) if content is None else _parts(content)
        yield from verified(chunks, digest, size, name)
        if self.on_verified is not None:
            self.on_verified(digest)

    @contextmanager
    def fetching(
        self, items: Iterable[T], blobs_of: Callable[[T], Iterable[Blob]]
    ) -> Iterator[Iterator[T]]:
        """Yield items in order, and fetch blobs before they are read if that saves time.

        Args:
            items: what is worked on; taken ahead, by whoever asks for the next one.
            blobs_of: returns the blobs that an item needs, in the order in which they will be read.
        """
        if not self._source.is_remote:
            yield iter(items)
            return
        self._ahead = FetchAhead(self._source)
        try:
            yield self._ahead.over(items, blobs_of)
        finally:
            self._ahead.close()
            self._ahead = None

    def done(self, blobs: Iterable[Blob]) -> None:
        """Say that nobody will read blobs any more that `fetching` was told of."""
        if self._ahead is not None:
            self._ahead.forget(blobs)

    def expect(self, descriptor: Descriptor) -> None:
        """Say that a descriptor's blob will be read soon: a slow place begins to fetch it."""
        self._source.expect(Wanted(blob_name(descriptor.digest), descriptor.size))

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return the whole blob for a descriptor.

        Raises:
            LimitError: the size in the descriptor is over `limit` bytes.
            IntegrityError: the blob is missing, or has the wrong size or digest.
        """
        check_limit(descriptor.size, limit, descriptor.digest_text)
        return b"".join(self.stream(descriptor.digest, descriptor.size))


def _parts(content: bytes) -> Iterator[memoryview]:
    return (memoryview(content)[at : at + CHUNK] for at in range(0, len(content), CHUNK))


def verified(
    chunks: Iterable[Chunk], digest: bytes, size: int | None, where: str
) -> Iterator[Chunk]:
    """Pass chunks on, and check them against size and digest.

    Raises:
        IntegrityError: there are more bytes than `size`, or, at the end, fewer, or the digest is
            wrong.
    """
    sha256 = hashlib.sha256()
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if size is not None and seen > size:
            raise IntegrityError("content is larger than it should be", where=where, expected=size)
        sha256.update(chunk)
        yield chunk
    if size is not None and seen != size:
        raise IntegrityError(
            "content has a different size", where=where, observed=seen, expected=size
        )
    if sha256.digest() != digest:
        raise IntegrityError(
            "content does not match its digest",
            where=where,
            observed=format_digest(sha256.digest()),
            expected=format_digest(digest),
        )
