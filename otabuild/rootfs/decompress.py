"""Recognises compressed streams by their first bytes and decompresses them within bounds.

Every decoder must reach the end of its last frame: truncated input is an error, never a shorter
archive.
"""

from __future__ import annotations

import bz2
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import zstandard

from otabuild.errors import InputError
from otabuild.format import limits

_STEP = 1 << 20
_JOINED = 1 << 18
RATIO = 400
FLOOR = 4 * limits.GIB
HOLES = 16 * limits.GIB
KEPT_RATIO = 4
KEPT = 2 * limits.GIB


def _gzip(frame: Any, data: bytes) -> Iterator[bytes]:
    out = frame.decompress(data, _STEP)
    yield out
    while (frame.unconsumed_tail or len(out) == _STEP) and not frame.eof:
        out = frame.decompress(frame.unconsumed_tail, _STEP)
        yield out


def _stepwise(frame: Any, data: bytes) -> Iterator[bytes]:
    """Decode bzip2 and xz: both decoders keep their input until output is requested."""
    yield frame.decompress(data, _STEP)
    while not frame.eof and not frame.needs_input:
        yield frame.decompress(b"", _STEP)


def _at_once(frame: Any, data: bytes) -> Iterator[bytes]:
    yield frame.decompress(data)


class _Format(NamedTuple):
    """A format: the start of its streams, a decoder of a frame, how to feed it how many bytes.

    A decoder sets `eof` when its frame has ended, and has the bytes after the frame in
    `unused_data`.
    """

    magic: re.Pattern[bytes]
    decoder: Callable[[], Any]
    decode: Callable[[Any, bytes], Iterator[bytes]]
    feed: int


_FORMATS = (
    _Format(re.compile(rb"\x1f\x8b"), lambda: zlib.decompressobj(wbits=31), _gzip, 1 << 16),
    _Format(re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor, _stepwise, 1 << 16),
    _Format(
        re.compile(rb"\xfd7zXZ\0"),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 * limits.MIB),
        _stepwise,
        1 << 16,
    ),
    _Format(
        # A frame, or one to skip, as pzstd writes first.
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: zstandard.ZstdDecompressor(
            max_window_size=1 << limits.ZSTD_WINDOW_LOG
        ).decompressobj(),
        _at_once,
        1 << 10,  # a block of four bytes can expand to 128 KiB, so this yields at most 32 MiB
    ),
)


class Budget:
    """Limits how large an archive may become for what was read of it. Sizes are in bytes.

    Each limit is the larger of two values. Decompressed data: 400 times the size read, or 4 GiB.
    Holes in sparse files, which take time but no space: 400 times, or 16 GiB. Names and attributes,
    which stay in memory: 4 times, or 2 GiB.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._read = self._unfolded = self._holes = self._kept = 0

    def read(self, size: int) -> None:
        """Count bytes read from the archive."""
        self._read += size

    def unfold(self, size: int) -> None:
        """Count bytes that came out of decompression.

        Raises:
            InputError: more than the limit.
        """
        self._unfolded += size
        self._check(self._unfolded, FLOOR, RATIO, "", "large files of zeros, such as swap files,")

    def hole(self, size: int) -> None:
        """Count a hole of a sparse file.

        Raises:
            InputError: more than the limit.
        """
        self._holes += size
        self._check(
            self._holes,
            HOLES,
            RATIO,
            " of holes in sparse files",
            "large sparse files, such as lastlog,",
        )

    def keep(self, size: int) -> None:
        """Count bytes that stay in memory.

        Raises:
            InputError: more than the limit.
        """
        self._kept += size
        self._check(self._kept, KEPT, KEPT_RATIO, " of names and attributes", "what is not needed")

    def _check(self, size: int, floor: int, ratio: int, kind: str, what: str) -> None:
        if size > max(floor, ratio * self._read):
            raise InputError(
                "the archive expands to far more than its size",
                where=self.where,
                observed=f"over {size} bytes{kind} from {self._read}",
                expected=f"at most {ratio} times as much, or {floor} bytes",
                hint=(
                    f"leave {what} out of the archive, or unpack it and give the "
                    "rootfs as a directory"
                ),
            )


def is_compressed(head: bytes) -> bool:
    """Whether a stream starts like one of the compressed formats."""
    return _format(head) is not None


def _format(head: bytes) -> _Format | None:
    return next((one for one in _FORMATS if one.magic.match(head)), None)


def decompressed(chunks: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    """Yield the plain bytes of a gzip, bzip2, xz, zstd (one or more frames) or plain stream.

    Raises:
        InputError: damaged, truncated, followed by something else, or larger than the budget
            allows.
    """
    parts = iter(chunks)
    head = next(parts, b"")
    found = _format(head)
    source = itertools.chain((head,), parts)
    if found is None:
        for part in source:
            budget.read(len(part))
            yield part
        return
    try:
        yield from _joined(
            _frames(_counted(source, budget, found.feed), found, budget.where), budget
        )
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the archive could not be read; bz2 has no number for damaged data
        if "memory" in str(error).lower():
            raise InputError(
                "the archive needs too much memory to be decompressed",
                where=budget.where,
                observed=error,
                hint="compress it without --long or --ultra (zstd), or at -9 at most (xz)",
            ) from error
        raise InputError("the archive is damaged", where=budget.where, observed=error) from error


def _joined(parts: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    """Yield the same bytes in parts of at least 256 KiB."""
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


def _counted(parts: Iterable[bytes], budget: Budget, feed: int) -> Iterator[bytes]:
    for part in parts:
        budget.read(len(part))
        yield from (part[at : at + feed] for at in range(0, len(part), feed))


def _frames(parts: Iterator[bytes], found: _Format, where: str) -> Iterator[bytes]:
    frame = found.decoder()
    for part in parts:
        data = part
        while data:
            if frame.eof:
                data = data.lstrip(b"\0")  # padding, as written by xz and tape devices
                if not data:
                    break
                frame = found.decoder()
            yield from found.decode(frame, data)
            data = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise InputError("the archive is cut off", where=where, hint="copy or make it again")
