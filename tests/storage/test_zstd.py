"""Threats F6 and F7: exactly one whole frame of the expected size, or an error; never more bytes than that."""

from __future__ import annotations

import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import IntegrityError, LimitError
from otabuild.storage import zstd
from otabuild.storage.zstd import decompress
from tests.image.forge import frame

DATA = random.Random(1).randbytes(300) * 3


def run(raw: bytes, size: int | None = len(DATA), limit: int = 1 << 30, part: int = 1 << 20) -> bytes:
    return b"".join(decompress((raw[i : i + part] for i in range(0, len(raw), part)), size, limit, "x"))


@given(st.binary(max_size=5000), st.integers(1, 4000))
def test_any_content_comes_back_in_any_parts(data: bytes, part: int) -> None:
    assert run(frame(data), len(data), part=part) == data


def test_f6_every_cut_is_refused() -> None:
    good = frame(DATA)
    for length in range(len(good)):
        with pytest.raises(IntegrityError):
            run(good[:length])


def test_f6_no_flipped_bit_gives_another_content() -> None:
    good = frame(DATA)
    for position in range(len(good) * 8):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        try:
            found = run(bytes(bad))
        except (IntegrityError, LimitError):
            continue
        assert found == DATA, position


@pytest.mark.parametrize(
    "tail",
    [b"\0", b"x" * 5000, frame(b""), frame(b"x"), b"\x50\x2a\x4d\x18\0\0\0\0"],
    ids=["one", "many", "empty-frame", "frame", "skippable"],
)
@pytest.mark.parametrize("part", [1 << 20, len(frame(DATA))], ids=["with-the-frame", "in-a-part-of-their-own"])
def test_f6_bytes_behind_are_refused(tail: bytes, part: int) -> None:
    with pytest.raises(IntegrityError, match="after"):
        run(frame(DATA) + tail, part=part)


def test_f6_frames_without_size_checksum_or_with_dictionary_are_refused() -> None:
    trained = zstandard.train_dictionary(1024, [random.Random(n).randbytes(50) + DATA for n in range(200)])
    for raw in (
        frame(DATA, write_content_size=False),
        frame(DATA, write_checksum=False),
        frame(DATA, dict_data=trained),
        frame(DATA)[4:],
    ):
        with pytest.raises(IntegrityError):
            run(raw)


def test_f7_bomb_stops_at_the_declared_size() -> None:
    bomb = frame(bytes(200 << 20))
    with pytest.raises(IntegrityError):
        run(bomb, size=1000)
    with pytest.raises(LimitError):
        run(bomb, size=None, limit=1000)


def test_f7_window_over_the_limit_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, write_checksum=True, write_content_size=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=300 << 20)
    raw = stream.compress(bytes(300 << 20)) + stream.flush()
    with pytest.raises(LimitError):
        run(raw, size=None)


BLOCK = 128 << 10


@pytest.mark.parametrize("part", [1, 3, 1001, 1 << 20])
@pytest.mark.parametrize("data", [bytes(40 * BLOCK), random.Random(1).randbytes(20 * BLOCK)], ids=["rle", "raw"])
def test_f7_never_more_than_eight_blocks_come_out_at_once(data: bytes, part: int) -> None:
    raw = frame(data)
    part = max(part, len(raw) // 5000)  # each byte alone takes too long for the larger frame
    parts = (raw[at : at + part] for at in range(0, len(raw), part))
    sizes = [len(out) for out in decompress(parts, len(data), len(data), "x")]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 8 * BLOCK
    if part >= len(raw):
        assert set(sizes[1:-1]) == {8 * BLOCK}


def rle(size: int, *, last: bool = False) -> bytes:
    """A block that repeats one byte."""
    return (size << 3 | 1 << 1 | last).to_bytes(3, "little") + b"x"


@pytest.mark.parametrize("part", [1, 2, 3, 4, 5, 1000])
def test_f7_pieces_end_within_every_eighth_block(part: int) -> None:
    raw = b"head" + rle(BLOCK) * 20 + rle(5, last=True) + b"checksum"
    ends = {4 + 4 * number - 1 for number in (8, 16)}  # after the header of the block, before its byte
    pieces = [bytes(piece) for piece in zstd._pieces((raw[at : at + part] for at in range(0, len(raw), part)), 4)]
    assert b"".join(pieces) == raw
    found = {sum(map(len, pieces[:number])) for number in range(1, len(pieces))}
    assert found == (ends | set(range(part, len(raw), part)))


def test_f7_what_follows_the_last_block_is_not_taken_for_blocks() -> None:
    raw = b"head" + rle(BLOCK, last=True) + rle(BLOCK) * 20
    assert [bytes(piece) for piece in zstd._pieces([raw], 4)] == [raw]
