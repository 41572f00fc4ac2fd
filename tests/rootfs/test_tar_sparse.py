"""Maps of sparse files: each form to its last byte, and what contradicts itself."""

from __future__ import annotations

import pytest

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.rootfs import tar_sparse
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.tar_sparse import Sparse
from tests.rootfs.tars import BLOCK, header, octal, padded

Pairs = list[tuple[bytes, bytes]]


def find(
    pairs: Pairs, stored: int, *, body: bytes = b"", block: bytes = bytes(BLOCK), flag: bytes = b"0"
) -> Sparse | None:
    return tar_sparse.find(Reader(iter([body]), "a.tar"), block, flag, pairs, stored)


def map_0_1(text: bytes, size: bytes = b"100") -> Pairs:
    return [(b"GNU.sparse.size", size), (b"GNU.sparse.map", text), (b"GNU.sparse.name", b"x")]


def test_what_has_no_map_is_no_sparse_file() -> None:
    assert find([(b"path", b"x")], 5) is None


@pytest.mark.parametrize(
    ("text", "stored", "extents"),
    [
        (b"0,10,90,10", 20, [(0, 10), (90, 10)]),
        (b"90,10", 10, [(90, 10)]),
        (b"0,5,5,5", 10, [(0, 5), (5, 5)]),
        (b"0,5,100,0", 5, [(0, 5)]),
        (b"0,0", 0, []),
    ],
)
def test_a_map_in_a_record(text: bytes, stored: int, extents: list[tuple[int, int]]) -> None:
    assert find(map_0_1(text), stored) == Sparse(100, extents, stored, b"x")
    numbers = text.split(b",")
    pairs = [(b"GNU.sparse.size", b"100")]
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        pairs += [(b"GNU.sparse.offset", offset), (b"GNU.sparse.numbytes", length)]
    assert find(pairs, stored) == Sparse(100, extents, stored, b"")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (b"91,10", 10),
        (b"0,101", 101),
        (b"0,10,9,10", 20),
        (b"10,5,0,5", 10),
        (b"0,10,20", 10),
        (b"0,10", 9),
        (b"0,10", 11),
        (b"", 0),
        (b"0,-1", 0),
        (b"0,x", 0),
    ],
)
def test_a_map_that_contradicts_itself(text: bytes, stored: int) -> None:
    with pytest.raises(InputError, match=r"the map of a sparse file|is not a number"):
        find(map_0_1(text), stored)


def test_the_largest_sparse_file() -> None:
    found = find(map_0_1(b"0,1", b"%d" % limits.FILE), 1)
    assert found is not None
    assert found.size == limits.FILE
    with pytest.raises(InputError, match="the map of a sparse file is damaged"):
        find(map_0_1(b"0,1", b"%d" % (limits.FILE + 1)), 1)


def in_front(text: bytes, data: bytes = b"", stored: int | None = None) -> Sparse | None:
    pairs = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"100")]
    body = padded(text) + data
    return find(pairs, len(body) if stored is None else stored, body=body)


def test_a_map_in_front_of_the_data() -> None:
    assert in_front(b"2\n0\n5\n95\n5\n", b"x" * 10) == Sparse(100, [(0, 5), (95, 5)], 10, b"")
    assert in_front(b"0\n") == Sparse(100, [], 0, b"")
    many = b"%d\n" % 60 + b"".join(b"%d\n1\n" % number for number in range(60)) + b"0\n" * 100
    assert in_front(many.ljust(BLOCK, b"0"), b"x" * 60) is not None


@pytest.mark.parametrize(
    ("text", "stored"),
    [(b"1\n0\n", None), (b"x\n", None), (b"1\n0\n5\n", 511), (b"0" * 1200, None), (b"1000001\n", None), (b"", 0)],
)
def test_a_map_in_front_that_is_damaged(text: bytes, stored: int | None) -> None:
    with pytest.raises(InputError, match=r"the map of a sparse file|is not a number"):
        in_front(text, stored=stored)


def test_a_map_in_the_header_and_in_blocks_after_it() -> None:
    def pair(at: int, length: int) -> bytes:
        return octal(at, 12) + octal(length, 12)

    def old(map_of_header: bytes, more: bytes, size: int) -> bytes:
        return header(b"x", b"S", rest=map_of_header.ljust(96, b"\0") + more + octal(size, 12))

    four = b"".join(pair(10 * number, 1) for number in range(4))
    assert find([], 4, block=old(four, b"\0", 31), flag=b"S") == Sparse(31, [(0, 1), (10, 1), (20, 1), (30, 1)], 4, b"")
    block = b"".join(pair(100 + number, 1) for number in range(21)) + b"\1"
    last = pair(200, 1).ljust(504, b"\0") + b"\0"
    found = find([], 26, block=old(four, b"\1", 201), flag=b"S", body=padded(block) + padded(last))
    assert found is not None
    assert (len(found.extents), found.stored, found.extents[-1]) == (26, 26, (200, 1))
