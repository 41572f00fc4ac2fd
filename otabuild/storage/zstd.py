"""Decompresses zstd frames within bounds (section 7).

Most decompression functions accept a truncated frame, or also decode a second frame. Here a
resource is exactly one whole frame, its header has the size of the content, and never more than
that is produced.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import zstandard

from otabuild.errors import IntegrityError, LimitError
from otabuild.format import limits
from otabuild.format.compat import STRICT, Compat, Early

# Four bytes can be a block of 128 KiB, the maximum for a block. Therefore input is counted in
# blocks.
_BLOCKS = 8
_AT_ONCE = 1 << 20
"""The largest content, in bytes, that is made in one call."""
_HEADER_MAX = 18
_RLE = 1
_NO_SIZE = (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)


def decompress(
    chunks: Iterable[bytes | memoryview],
    size: int | None,
    limit: int,
    where: str,
    compat: Compat = STRICT,
) -> Iterator[bytes]:
    """Decompress one frame as a stream.

    Args:
        chunks: the frame, in parts of any size.
        size: the required size of the content in bytes; None if only the frame has it.
        limit: the maximum size of the content in bytes.
        where: the object the frame belongs to, for messages.
        compat: whether a frame of an early builder will do, without a checksum or, if `size` is
            None, without a size.

    Yields:
        the content, in parts of about 1 MiB.

    Raises:
        IntegrityError: truncated, damaged, wrong size, or not exactly one plain frame with content
            size and checksum.
        LimitError: the frame states more than `limit` bytes or needs a window over 128 MiB.
    """
    parts = iter(chunks)
    head = bytearray()
    while len(head) < _HEADER_MAX and (part := next(parts, None)) is not None:
        head += part
    # What the header declares is the bound of all that follows (F7), so it is judged first.
    declared = _declared_size(bytes(head[:_HEADER_MAX]), size, limit, where, compat)
    # One per frame: a frame may be inside a frame, and then both are read alternately.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << limits.ZSTD_WINDOW_LOG)
    whole = _at_once(decompressor, head, declared)
    if whole is None:
        pieces = _pieces(
            itertools.chain((bytes(head),), parts), zstandard.frame_header_size(bytes(head))
        )
        yield from _streamed(decompressor.decompressobj(), pieces, declared, limit, where)
        return
    yield whole
    if next(parts, None) is not None:
        raise IntegrityError("bytes after the zstd frame", where=where)


def _at_once(
    decompressor: zstandard.ZstdDecompressor, frame: bytearray, declared: int | None
) -> bytes | None:
    """Return the content of a small frame; None if it is not exactly one good frame.

    It takes a third of the time of a stream.
    """
    if not declared or declared > _AT_ONCE:
        return None
    try:
        return decompressor.decompress(frame, allow_extra_data=False)
    # The stream says what is wrong, or the rest of the frame is still to come.
    except zstandard.ZstdError:
        return None


def _streamed(
    frame: zstandard.ZstdDecompressionObj,
    pieces: Iterable[memoryview],
    declared: int | None,
    limit: int,
    where: str,
) -> Iterator[bytes]:
    """Yield the content of a frame that comes in pieces."""
    produced = 0
    for piece in pieces:
        # A client writes a second frame out without hashing it (section 7).
        if frame.eof:
            raise IntegrityError("bytes after the zstd frame", where=where)
        try:
            out = frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise IntegrityError("damaged zstd frame", where=where, observed=error) from None
        produced += len(out)
        _check_amount(produced, declared, limit, where)
        if out:
            yield out
    if not frame.eof:
        raise IntegrityError(
            "zstd frame is cut off", where=where, observed=f"{produced} bytes", expected=declared
        )
    if frame.unused_data:
        raise IntegrityError("bytes after the zstd frame", where=where)
    if declared is not None and produced != declared:
        raise IntegrityError(
            "zstd frame contains less than it declares",
            where=where,
            observed=produced,
            expected=declared,
        )


def _check_amount(produced: int, declared: int | None, limit: int, where: str) -> None:
    if declared is None and produced > limit:
        raise LimitError("content too large", where=where, expected=f"at most {limit}")
    if declared is not None and produced > declared:
        raise IntegrityError(
            "zstd frame contains more than it declares", where=where, expected=declared
        )


def has_checksum_and_size(head: bytes) -> bool:
    """Whether these first bytes, at least 18 if there are, begin a frame of the format."""
    try:
        frame = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError:
        return False
    return bool(frame.has_checksum) and frame.content_size not in _NO_SIZE


def _declared_size(
    head: bytes, size: int | None, limit: int, where: str, compat: Compat
) -> int | None:
    try:
        frame = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError as error:
        raise IntegrityError("not a zstd frame", where=where, observed=error) from None
    is_plain = head.startswith(b"\x28\xb5\x2f\xfd") and not frame.dict_id
    if not (is_plain and (frame.has_checksum or compat.accepts(Early.PLAIN_FRAME))):
        raise IntegrityError(
            "not a plain zstd frame with a checksum and without a dictionary", where=where
        )
    if frame.window_size > 1 << limits.ZSTD_WINDOW_LOG:
        raise LimitError("zstd window too large", where=where, observed=frame.window_size)
    if frame.content_size in _NO_SIZE:
        if size is None and compat.accepts(Early.PLAIN_FRAME):
            return None
        raise IntegrityError("the zstd frame does not declare the size of its content", where=where)
    if size is not None and frame.content_size != size:
        raise IntegrityError(
            "the zstd frame declares a different size",
            where=where,
            observed=frame.content_size,
            expected=size,
        )
    if frame.content_size > limit:
        raise LimitError(
            "content too large",
            where=where,
            observed=frame.content_size,
            expected=f"at most {limit}",
        )
    return int(frame.content_size)


def _pieces(parts: Iterable[bytes | memoryview], until_block: int) -> Iterator[memoryview]:
    """Cut a frame, whose first block begins after `until_block` bytes, into pieces.

    A piece has at most `_BLOCKS` blocks.
    """
    # A chunk may end anywhere, even within the three bytes of a block's header. So this is a small
    # machine: it is either `until_block` bytes before the next header or inside one, of which it
    # has `header`. Without it, one chunk of a hostile frame could expand to thousands of blocks in
    # a single call, before anybody counts what came out.
    header = bytearray()
    blocks, is_last = 0, False
    for part in parts:
        view = memoryview(part)
        start = at = 0
        while at < len(view) and not is_last:
            if until_block:
                step = min(until_block, len(view) - at)
                until_block -= step
            else:
                step = min(3 - len(header), len(view) - at)
                header += view[at : at + step]
            at += step
            if len(header) == 3:
                word = int.from_bytes(header, "little")
                is_last, until_block = bool(word & 1), 1 if word >> 1 & 3 == _RLE else word >> 3
                header.clear()
                blocks += 1
                if blocks % _BLOCKS == 0:
                    yield view[start:at]
                    start = at
        yield view[start:]
