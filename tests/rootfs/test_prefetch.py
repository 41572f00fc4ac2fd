from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from otabuild.errors import InputError
from otabuild.rootfs.prefetch import prefetched
from tests.leaks import nothing_left


def test_chunks_come_in_order() -> None:
    assert list(prefetched(bytes([n % 256]) for n in range(1000))) == [bytes([n % 256]) for n in range(1000)]


def test_an_error_comes_where_it_happened_and_the_thread_ends() -> None:
    def source() -> Iterator[bytes]:
        yield b"1"
        raise InputError("broken")

    with nothing_left():
        stream = prefetched(source())
        assert next(stream) == b"1"
        with pytest.raises(InputError, match="broken"):
            next(stream)


def test_closing_early_ends_the_thread() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    with nothing_left(), closing(prefetched(endless())) as stream:
        assert next(stream) == b"x"
