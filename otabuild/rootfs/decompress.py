"""Compressed streams, recognised by their first bytes and decompressed within bounds.

Every decoder must see the end of its last frame: input that is cut off is an error, never a shorter archive.
"""

from __future__ import annotations

import bz2
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import zstandard

from otabuild.errors import InputError
from otabuild.format import limits

_STEP = 1 << 20
_FEED = 1 << 16
_JOINED = 1 << 18
_ZSTD_PIECE = 1 << 10
"""A block of four bytes can hold 128 KiB, so a piece of this size yields at most 32 MiB."""
RATIO = 400
FLOOR = limits.GIB


class _Decoder(Protocol):
    """One frame of a compressed stream."""

    @property
    def eof(self) -> bool:
        """Whether the end of the frame was reached."""

    @property
    def unused_data(self) -> bytes:
        """What lay behind the end of the frame."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Feed data; gives what comes out in parts of bounded size."""


class _Gzip:
    def __init__(self) -> None:
        self._frame = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decode(self, data: bytes) -> Iterator[bytes]:
        out = bytes(_STEP)
        while (data or len(out) == _STEP) and not self.eof:
            out = self._frame.decompress(data, _STEP)
            data = self._frame.unconsumed_tail
            yield out


class _Stepwise:
    """bzip2 and xz: both decoders keep what they were fed until it is asked for."""

    def __init__(self, frame: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._frame = frame

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decode(self, data: bytes) -> Iterator[bytes]:
        yield self._frame.decompress(data, _STEP)
        while not self.eof and not self._frame.needs_input:
            yield self._frame.decompress(b"", _STEP)


class _Zstd:
    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=1 << limits.ZSTD_WINDOW_LOG).decompressobj()
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._rest

    def decode(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_PIECE):
            if self.eof:
                self._rest = data[at:]
                return
            yield self._frame.decompress(data[at : at + _ZSTD_PIECE])


_MAGIC: tuple[tuple[bytes, Callable[[], _Decoder]], ...] = (
    (b"\x1f\x8b", _Gzip),
    (b"BZh", lambda: _Stepwise(bz2.BZ2Decompressor())),
    (b"\xfd7zXZ\0", lambda: _Stepwise(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 * limits.MIB))),
    (b"\x28\xb5\x2f\xfd", _Zstd),
)


class Budget:
    """How much an archive may unfold to: 400 times what was read of it, and at least 1 GiB. Sizes in bytes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._read = self._unfolded = 0

    def read(self, size: int) -> None:
        """Some of the archive was read."""
        self._read += size

    def unfold(self, size: int) -> None:
        """So much came out of it.

        Raises:
            InputError: more than it may.
        """
        self._unfolded += size
        if self._unfolded > max(FLOOR, RATIO * self._read):
            raise InputError(
                "the archive unfolds to far more than it holds",
                where=self.where,
                observed=f"over {self._unfolded} bytes from {self._read}",
                expected=f"at most {RATIO} times as much",
            )


def is_compressed(head: bytes) -> bool:
    """Whether a stream begins as one of the compressed formats."""
    return any(head.startswith(magic) for magic, _ in _MAGIC)


def decompressed(chunks: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    """The plain bytes of a stream that is gzip, bzip2, xz, zstd (one frame or several) or not compressed.

    Raises:
        InputError: damaged, cut off, followed by something else, or unfolding beyond the budget.
    """
    parts = iter(chunks)
    head = next(parts, b"")
    found = [make for magic, make in _MAGIC if head.startswith(magic)]
    source = itertools.chain((head,), parts)
    if not found:
        for part in source:
            budget.read(len(part))
            yield part
        return
    try:
        yield from _joined(_frames(_counted(source, budget), found[0], budget.where), budget)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        raise InputError("the archive is damaged", where=budget.where, observed=error) from error


def _joined(parts: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    """The same bytes in parts of 256 KiB and more."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _JOINED:
            budget.unfold(size)
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _counted(parts: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    for part in parts:
        budget.read(len(part))
        yield from (part[at : at + _FEED] for at in range(0, len(part), _FEED))


def _frames(parts: Iterator[bytes], make: Callable[[], _Decoder], where: str) -> Iterator[bytes]:
    decoder = make()
    for part in parts:
        data = part
        while data:
            if decoder.eof:
                data = data.lstrip(b"\0")  # padding, as xz and tape devices leave it
                if not data:
                    break
                decoder = make()
            yield from decoder.decode(data)
            data = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise InputError("the archive is cut off", where=where)
