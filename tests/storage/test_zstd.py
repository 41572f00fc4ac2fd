"""Threats F6 and F7: exactly one whole frame of the expected size, or an error; never more bytes than that."""

from __future__ import annotations

import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import IntegrityError, LimitError
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
def test_f6_bytes_behind_are_refused(tail: bytes) -> None:
    with pytest.raises(IntegrityError, match="after"):
        run(frame(DATA) + tail)


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
