"""zstd compression: one frame with content size and checksum, no dictionary (section 7)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import zstandard

from otabuild.storage.files import file_state

_local = threading.local()
_TABLE_LEVEL = 17
_TABLE_WINDOW_LOG = 26
"""Rows of a large table name the same paths as its indexes, some ten megabytes away: the window of
the level, 8 MiB, does not reach there, and a table of 300,000 files takes 37 % more. Who reads the
frame needs that memory: 64 MiB at most."""
_CHUNK = 1 << 20


def compressor(level: int) -> zstandard.ZstdCompressor:
    """Return this thread's compressor for a level.

    It has no worker threads, because they would change the bytes.
    """
    key = f"level_{level}"
    made: zstandard.ZstdCompressor | None = getattr(_local, key, None)
    if made is None:
        made = zstandard.ZstdCompressor(
            level=level, write_checksum=True, write_content_size=True, threads=0
        )
        setattr(_local, key, made)
    return made


def compress(data: bytes, level: int) -> bytes:
    """Return the frame of these bytes; it depends on them, the level, and libzstd only."""
    return compressor(level).compress(data)


def compress_table(path: str) -> Iterator[bytes]:
    """Yield the frame of a database file in parts.

    Short matches pay off, because rows repeat numbers of three bytes.

    Raises:
        StorageError: the file cannot be read.
    """
    size = file_state(path)[1]
    own = zstandard.ZstdCompressionParameters.from_level(_TABLE_LEVEL, source_size=size).window_log
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _TABLE_LEVEL,
        source_size=size,
        min_match=3,
        window_log=max(own, min((size - 1).bit_length(), _TABLE_WINDOW_LOG)),
        write_checksum=True,
        write_content_size=True,
        threads=0,
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=size)
    with open(path, "rb") as file:
        yield from (frame.compress(chunk) for chunk in iter(partial(file.read, _CHUNK), b""))
    yield frame.flush()


def library_version() -> str:
    """Return the version of libzstd, which affects compressed bytes."""
    return ".".join(map(str, zstandard.ZSTD_VERSION))
