"""Reads exact numbers of bytes from a stream of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otabuild.errors import InputError


class Reader:
    """Reads the plain bytes of an archive.

    `where` names it in messages, `position` counts the bytes read.
    """

    def __init__(self, chunks: Iterable[bytes], where: str) -> None:
        self.where = where
        self.position = 0
        self._chunks = iter(chunks)
        self._chunk = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            InputError: fewer bytes are left.
        """
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            self.position += size
            return data
        return b"".join(self.parts(size))

    def parts(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in parts."""
        while size:
            if self.at_end():
                raise InputError(
                    "the archive is cut off", where=self.where, hint="copy or make it again"
                )
            part = self._chunk[self._at : self._at + size]
            self._at += len(part)
            self.position += len(part)
            size -= len(part)
            yield part

    def head(self, size: int) -> bytes:
        """Return at most `size` buffered bytes without consuming them.

        At the start, the buffer is long enough.
        """
        return b"" if self.at_end() else self._chunk[self._at : self._at + size]

    def rest(self) -> Iterator[bytes]:
        """Yield all remaining bytes in parts."""
        while not self.at_end():
            yield from self.parts(len(self._chunk) - self._at)

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        for _part in self.parts(size):
            pass

    def at_end(self) -> bool:
        """Whether the stream has ended."""
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._chunk, self._at = chunk, 0
        return False
