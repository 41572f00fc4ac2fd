"""Archives expand within bounds, each to the byte, and formats are known by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard

from otabuild.errors import InputError
from otabuild.format.limits import GIB
from otabuild.rootfs.decompress import Budget, decompressed, is_compressed

READ = 1 << 30
"""So many bytes of an archive that the ratio counts, and not the floor."""


@pytest.mark.parametrize(
    ("count", "floor", "ratio"),
    [(Budget.unfold, 4 * GIB, 400), (Budget.hole, 16 * GIB, 400), (Budget.keep, 2 * GIB, 4)],
)
def test_each_bound_to_the_byte(count: Callable[[Budget, int], None], floor: int, ratio: int) -> None:
    for read, most in ((0, floor), (READ // 2, max(floor, READ // 2 * ratio)), (READ, READ * ratio)):
        budget = Budget("a.tar")
        budget.read(read // 2)
        budget.read(read - read // 2)
        count(budget, most - 1)
        count(budget, 1)
        with pytest.raises(InputError, match=f"over {most + 1} bytes.* from {read},"):
            count(budget, 1)


def test_the_bounds_do_not_count_for_each_other() -> None:
    budget = Budget("a.tar")
    budget.unfold(4 * GIB)
    budget.hole(16 * GIB)
    budget.keep(2 * GIB)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "no": bytes,
}
PLAIN = bytes(range(256)) * 8192


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_comes_in_parts_of_any_size_is_the_same(packing: str, step: int) -> None:
    data = PACKED[packing](PLAIN[: 4096 if step == 1 else len(PLAIN)])
    found = b"".join(
        decompressed((data[:16], *(data[at : at + step] for at in range(16, len(data), step))), Budget("a"))
    )
    assert found == PLAIN[: len(found)]
    assert len(found) == (4096 if step == 1 else len(PLAIN))


@pytest.mark.parametrize("packing", list(PACKED)[:4])
def test_what_was_read_and_what_came_out_are_counted(packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PACKED[packing](bytes(8 << 20))
    monkeypatch.setattr("otabuild.rootfs.decompress.FLOOR", 4 << 20)
    with pytest.raises(InputError, match=f"over [0-9]+ bytes from {len(data)}"):
        list(decompressed([data], Budget("a")))
    monkeypatch.setattr("otabuild.rootfs.decompress.FLOOR", 8 << 20)
    assert sum(map(len, decompressed([data], Budget("a")))) == 8 << 20


@pytest.mark.parametrize("packing", list(PACKED)[:4])
def test_several_frames_with_padding_are_one_stream(packing: str) -> None:
    frame = PACKED[packing](b"abc")
    for data in (frame + frame, frame + bytes(3) + frame + bytes(600)):
        assert b"".join(decompressed([data], Budget("a"))) == b"abcabc"
    for data in (frame[:-1], frame + frame[:-1], frame + b"x" * 20):
        with pytest.raises(InputError, match=r"the archive is (damaged|cut off)"):
            list(decompressed([data], Budget("a")))


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b"\x1f\x8b", True),
        (b"BZh11AY&SY", True),
        (b"BZh9\x17rE8P\x90", True),
        (b"BZh01AY&SY", False),
        (b"BZh9", False),
        (b"\xfd7zXZ\0", True),
        (b"\xfd7zXZ\1", False),
        (b"\x28\xb5\x2f\xfd", True),
        (b"\x50\x2a\x4d\x18", True),
        (b"\x5f\x2a\x4d\x18", True),
        (b"\x60\x2a\x4d\x18", False),
        (b"", False),
        (b"\0\x1f\x8b", False),
    ],
)
def test_the_first_bytes_tell(head: bytes, *, known: bool) -> None:
    assert is_compressed(head) == known


def test_a_zstd_window_is_as_large_as_allowed_and_no_larger() -> None:
    for log, fits in ((27, True), (28, False)):
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        data = packer.compress(b"abc" * 1000) + packer.flush()
        if fits:
            assert b"".join(decompressed([data], Budget("a"))) == b"abc" * 1000
        else:
            with pytest.raises(InputError, match="needs too much memory"):
                list(decompressed([data], Budget("a")))
