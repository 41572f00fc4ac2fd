"""Frames depend on bytes and level alone, and tables are compressed at the level that was measured."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
import zstandard

from otabuild.storage.compress import compress, compress_table, compressor, library_version

DATA = b"".join(random.Random(n % 7).randbytes(40) + b"%d" % n for n in range(9000))


@pytest.mark.parametrize("level", [1, 9, 16])
def test_a_frame_has_checksum_and_size_and_its_level(level: int) -> None:
    frame = compress(DATA, level)
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.has_checksum
    assert parameters.content_size == len(DATA)
    assert zstandard.ZstdDecompressor().decompress(frame) == DATA
    assert frame == zstandard.ZstdCompressor(level=level, write_checksum=True).compress(DATA)


def test_each_thread_has_one_compressor_for_each_level() -> None:
    assert compressor(3) is compressor(3)
    assert compressor(3) is not compressor(4)
    others: list[zstandard.ZstdCompressor] = []
    thread = threading.Thread(target=lambda: others.append(compressor(3)))
    thread.start()
    thread.join()
    assert others[0] is not compressor(3)


@pytest.mark.parametrize("size", [0, 100, len(DATA), (1 << 20) + 1])
def test_a_table_is_compressed_at_level_17_with_matches_from_three_bytes(tmp_path: Path, size: int) -> None:
    data = (DATA * 3)[:size]
    (tmp_path / "table").write_bytes(data)
    frame = b"".join(compress_table(str(tmp_path / "table")))
    wanted = zstandard.ZstdCompressionParameters.from_level(
        17, source_size=size, min_match=3, write_checksum=True, write_content_size=True
    )
    assert zstandard.ZstdDecompressor().decompress(frame, max_output_size=size) == data
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.has_checksum
    assert parameters.content_size == size
    reference = zstandard.ZstdCompressor(compression_params=wanted).compressobj(size=size)
    parts = [reference.compress(data[at : at + (1 << 20)]) for at in range(0, size, 1 << 20)]
    assert frame == b"".join((*parts, reference.flush()))


def test_the_window_of_a_large_table_reaches_what_lies_far_back(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(9 << 20) * 2
    (tmp_path / "table").write_bytes(data)
    frame = b"".join(compress_table(str(tmp_path / "table")))
    assert len(frame) < 10 << 20
    assert zstandard.ZstdDecompressor().decompress(frame) == data


def test_the_version_is_that_of_the_library() -> None:
    assert library_version() == ".".join(str(part) for part in zstandard.ZSTD_VERSION)
