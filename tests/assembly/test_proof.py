"""A record of somebody else's cache counts only if content alone proves it, in the one form that we would have chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otabuild.assembly import proof
from otabuild.assembly.content_store import ContentStore
from otabuild.assembly.proof import is_proven
from otabuild.assembly.stored import StoredContent
from otabuild.format.digest import Blob
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress
from otabuild.storage.seal import Seal
from tests.assembly.worlds import PLAN, blob, noise, plain, text

ONE, TWO = text(3000, 1), text(4000, 2)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(str(tmp_path / "cache")) as cache:
        yield cache


def proven(cache: Cache, stored: StoredContent, *contents: bytes) -> bool:
    return is_proven(stored, [blob(data) for data in contents], PLAN, cache)


def packed(cache: Cache, data: bytes, *, claimed: bytes | None = None, leaf: int = 1 << 30) -> StoredContent:
    """Store a content compressed, in leaves of so many bytes; `claimed` is what the record says it is."""
    frame = compress(data, 3)
    leaves = tuple(cache.add(frame[at : at + leaf]) for at in range(0, len(frame), leaf))
    return StoredContent(blob(claimed or data), blob(frame), leaves)


def test_right_records_are_proven(cache: Cache) -> None:
    cache.add(b"tiny")
    assert proven(cache, plain(b"tiny"), b"tiny")
    assert proven(cache, packed(cache, ONE), ONE)
    assert proven(cache, packed(cache, ONE + TWO), ONE, TWO)


def test_a_bundle_without_compression_is_proven(cache: Cache) -> None:
    cache.add(b"onetwo")
    assert proven(cache, plain(b"onetwo"), b"one", b"two")


def test_a_bundle_of_three_members_in_several_leaves_is_proven(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LEAF", 4)
    leaves = tuple(map(cache.add, (b"onet", b"woth", b"ree")))
    assert proven(cache, StoredContent(blob(b"onetwothree"), None, leaves), b"one", b"two", b"three")


def test_a_content_of_one_byte_is_proven_and_one_of_none_is_not(cache: Cache) -> None:
    cache.add(b"x")
    cache.add(b"")
    assert proven(cache, plain(b"x"), b"x")
    assert not proven(cache, plain(b""), b"")


@pytest.mark.parametrize(
    "contents", [[TWO, ONE], [ONE, ONE], [ONE], [ONE, TWO, b"x"], [ONE + TWO[:1], TWO[1:] + b"x"]], ids=len
)
def test_other_members_are_not(cache: Cache, contents: Sequence[bytes]) -> None:
    assert not proven(cache, packed(cache, ONE + TWO), *contents)


def test_members_of_the_right_sizes_with_other_bytes_are_not(cache: Cache) -> None:
    stored = packed(cache, ONE + TWO)
    assert not proven(cache, stored, text(3000, 5), TWO)
    assert not proven(cache, stored, ONE, text(4000, 5))
    assert not proven(cache, packed(cache, ONE), text(3000, 5))


def test_a_record_that_lies_about_the_whole_is_not_proven(cache: Cache) -> None:
    stored = packed(cache, ONE + TWO)
    other = Blob(blob(b"x").digest, 7000)
    assert not proven(cache, stored._replace(content=other), ONE, TWO)
    assert not proven(cache, stored._replace(content=stored.content._replace(size=6999)), ONE, TWO)
    assert not proven(cache, packed(cache, ONE, claimed=TWO[:3000]), ONE)


def test_a_frame_or_leaf_of_another_digest_is_not_proven(cache: Cache) -> None:
    stored = packed(cache, ONE)
    assert stored.compressed is not None
    wrong = Blob(blob(b"x").digest, stored.compressed.size)
    assert not proven(cache, stored._replace(compressed=wrong), ONE)
    assert not proven(cache, stored._replace(leaves=(wrong,)), ONE)
    frame = stored.compressed._replace(size=stored.compressed.size + 1)
    assert not proven(cache, stored._replace(compressed=frame), ONE)


def test_leaves_of_another_size_are_not_proven(cache: Cache) -> None:
    assert not proven(cache, packed(cache, ONE, leaf=20), ONE)
    stored = packed(cache, ONE)
    empty = cache.add(b"")
    assert not proven(cache, stored._replace(leaves=(*stored.leaves, empty)), ONE)
    assert not proven(cache, stored._replace(leaves=()), ONE)


def test_full_leaves_and_a_last_one_are_proven(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(compress(ONE, 3))
    monkeypatch.setattr(proof, "LEAF", 20)
    assert proven(cache, packed(cache, ONE, leaf=20), ONE)
    assert not proven(cache, packed(cache, ONE, leaf=21), ONE)
    assert not proven(cache, packed(cache, ONE, leaf=19), ONE)
    monkeypatch.setattr(proof, "LEAF", size)
    assert proven(cache, packed(cache, ONE), ONE)
    monkeypatch.setattr(proof, "LEAF", size - 1)
    assert not proven(cache, packed(cache, ONE), ONE)


def test_only_the_form_that_is_chosen_for_the_size_is_proven(cache: Cache) -> None:
    for size, compressed in [(1024, False), (1025, True)]:
        data = text(size)
        cache.add(data)
        assert proven(cache, packed(cache, data), data) is compressed
        assert proven(cache, plain(data), data) is not compressed


def test_a_frame_that_does_not_pay_is_not_proven(cache: Cache) -> None:
    data = text(2000) + noise(3000)
    stored = packed(cache, data)
    assert stored.compressed is not None
    ratio = len(data) / stored.compressed.size
    members = [blob(data)]
    assert is_proven(stored, members, replace(PLAN, compress_ratio=ratio), cache)
    assert not is_proven(stored, members, replace(PLAN, compress_ratio=ratio + 0.001), cache)


NONSENSE: dict[str, StoredContent] = {
    "digest": StoredContent(Blob("x", 4), None, (blob(b"tiny"),)),  # type: ignore[arg-type]
    "size": StoredContent(Blob(blob(b"tiny").digest, 4.0), None, (blob(b"tiny"),)),  # type: ignore[arg-type]
    "leaf": StoredContent(blob(b"tiny"), None, (Blob(blob(b"tiny").digest, "4"),)),  # type: ignore[arg-type]
    "frame": StoredContent(blob(b"tiny"), Blob(None, 4), (blob(b"tiny"),)),  # type: ignore[arg-type]
    "frame size": StoredContent(blob(ONE), Blob(blob(b"tiny").digest, "4"), (blob(b"tiny"),)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_what_does_not_consist_of_digests_and_sizes_is_not_proven(cache: Cache, kind: str) -> None:
    cache.add(b"tiny")
    assert not proven(cache, NONSENSE[kind], ONE if kind == "frame size" else b"tiny")


def test_a_missing_leaf_is_not_proven(cache: Cache) -> None:
    assert not proven(cache, plain(b"gone"), b"gone")


@pytest.mark.parametrize("value", [None, [], [1], [[b"x", 1], None], [1, 2, 3], [[b"x"], None, []]])
def test_a_store_believes_only_what_it_can_prove(tmp_path: Path, value: Any) -> None:
    folder, data = str(tmp_path / "cache"), text(5000)
    with Cache(folder, Seal(b"somebody else")) as cache:
        other = ContentStore(cache, PLAN)
        stored = other.store_bytes(data, blob(data))
        if value is not None:
            cache.remember(other._key(b"content", blob(data).digest), value)
    with Cache(folder, Seal(b"we")) as cache:
        store = ContentStore(cache, PLAN)
        assert store.find(blob(data)) == (stored if value is None else None)
        assert store.counts.contents_reused == (value is None)
        assert cache.recall(store._key(b"content", blob(data).digest)) == (
            None if value is not None else _plain(stored)
        )


def _plain(stored: StoredContent) -> list[Any]:
    frame = stored.compressed
    return [list(stored.content), list(frame) if frame else None, [list(leaf) for leaf in stored.leaves]]
