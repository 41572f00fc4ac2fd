"""Each content is stored once, compressed where this pays, in slices where it is large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import zstandard

from otabuild.assembly import content_store
from otabuild.assembly.base import Base
from otabuild.assembly.content_store import ContentStore, Counts, StoppedError
from otabuild.assembly.stored import BundleMember, StoredContent
from otabuild.errors import InputChangedError
from otabuild.format.limits import LEAF, MIB
from otabuild.rootfs.content import LostContentError
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress
from otabuild.storage.seal import Seal
from tests.assembly.worlds import PLAN, blob, content, noise, plain, small, stored_bytes, text


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(str(tmp_path / "cache")) as cache:
        yield cache


@pytest.fixture
def store(cache: Cache) -> ContentStore:
    return ContentStore(cache, PLAN)


def test_a_content_is_compressed_at_the_level_of_the_plan(store: ContentStore, cache: Cache) -> None:
    data = text(50_000)
    stored = store.store_bytes(data, blob(data))
    frame = compress(data, PLAN.compress_level)
    assert stored == StoredContent(blob(data), blob(frame), (blob(frame),))
    assert stored_bytes(cache, stored.leaves[0]) == frame
    assert (store.counts.blobs_compressed, store.counts.bytes_compressed) == (1, 50_000)


@pytest.mark.parametrize(("size", "compressed"), [(1024, False), (1025, True)])
def test_tiny_contents_are_not_compressed(store: ContentStore, size: int, compressed: bool) -> None:
    data = text(size)
    assert (store.store_bytes(data, blob(data)).compressed is not None) is compressed


def test_what_does_not_pay_is_stored_as_it_is(store: ContentStore, cache: Cache) -> None:
    data = noise(5000)
    assert store.store_bytes(data, blob(data)) == plain(data)
    assert stored_bytes(cache, blob(data)) == data


def test_a_frame_is_kept_from_the_ratio_of_the_plan_on(cache: Cache) -> None:
    data = text(2000) + noise(3000)
    ratio = len(data) / len(compress(data, PLAN.compress_level))
    just = ContentStore(cache, replace(PLAN, compress_ratio=ratio))
    assert just.store_bytes(data, blob(data)).compressed is not None
    above = ContentStore(cache, replace(PLAN, compress_ratio=ratio + 0.001))
    assert above.store_bytes(data, blob(data)).compressed is None


def test_a_stored_content_is_found_and_not_made_again(store: ContentStore) -> None:
    data = text(5000)
    assert store.find(blob(data)) is None
    stored = store.store_bytes(data, blob(data))
    assert store.find(blob(data)) == stored == store.store_bytes(data, blob(data))
    assert (store.counts.blobs_compressed, store.counts.contents_reused) == (1, 2)


def test_another_plan_finds_nothing(store: ContentStore, cache: Cache) -> None:
    data = text(5000)
    store.store_bytes(data, blob(data))
    assert ContentStore(cache, replace(PLAN, compress_level=3)).find(blob(data)) is None


def test_a_record_whose_leaf_is_gone_is_not_believed(tmp_path: Path) -> None:
    data = text(5000)
    with Cache(str(tmp_path / "cache")) as cache:
        stored = ContentStore(cache, PLAN).store_bytes(data, blob(data))
        for pack in (tmp_path / "cache/packs").iterdir():
            pack.write_bytes(b"x" * pack.stat().st_size)
        assert cache.discard_damaged() == list(stored.leaves)
        assert ContentStore(cache, PLAN).find(blob(data)) is None


def test_a_bundle_is_its_members_at_the_level_of_bundles(store: ContentStore, cache: Cache) -> None:
    parts = [text(700, 1), text(800, 2)]
    bundle = store.store_bundle([small("/a", parts[0]), small("/b", parts[1])])
    frame = compress(b"".join(parts), PLAN.bundle_level)
    assert bundle.stored == StoredContent(blob(b"".join(parts)), blob(frame), (blob(frame),))
    assert bundle.members == (BundleMember(blob(parts[0]), 0), BundleMember(blob(parts[1]), 700))
    assert stored_bytes(cache, blob(frame)) == frame
    assert store.find_bundle([blob(part) for part in parts]) == bundle.stored
    assert store.find_bundle([blob(part) for part in reversed(parts)]) is None


def test_a_member_on_the_host_is_read_again(tmp_path: Path, store: ContentStore) -> None:
    data = text(700)
    source = content(tmp_path / "a", data)
    member = replace(small("/a", data), source=source)
    bundle = store.store_bundle([member, small("/b", text(800, 2))])
    assert bundle.stored.content == blob(data + text(800, 2))
    assert store.store_alone(member) == plain(data)
    assert store.counts.bytes_read == 1400


def test_a_member_that_changed_is_refused(tmp_path: Path, store: ContentStore) -> None:
    member = replace(small("/a", text(700)), source=content(tmp_path / "a", text(700, 3)))
    with pytest.raises(LostContentError) as caught:
        store.store_alone(member)
    assert caught.value.content.digest == blob(text(700, 3)).digest


def test_a_file_is_read_once_and_hashed(tmp_path: Path, store: ContentStore) -> None:
    data = text(5000)
    found = content(tmp_path / "a", data)
    stored = store.store_file(found)
    assert stored.content == blob(data)
    assert store.counts.to_value() == {
        "files-hashed": 1,
        "bytes-hashed": 5000,
        "bytes-read": 5000,
        "blobs-compressed": 1,
        "bytes-compressed": 5000,
        "contents-reused": 0,
        "contents-of-base": 0,
    }
    store.store_file(found._replace(digest=blob(data).digest))
    assert store.counts.files_hashed == 1
    assert store.counts.contents_reused == 1


def test_a_file_with_another_digest_than_before_is_refused(tmp_path: Path, store: ContentStore) -> None:
    found = content(tmp_path / "a", text(5000))
    with pytest.raises(InputChangedError):
        store.store_file(found._replace(digest=blob(b"other").digest, stat_key=None))


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every content is streamed, whatever its size."""
    monkeypatch.setattr(content_store, "_ONE_SHOT", 0)


@pytest.mark.usefixtures("streaming")
def test_a_stream_is_compressed_as_a_whole(tmp_path: Path, store: ContentStore, cache: Cache) -> None:
    data = text(3 * MIB + 5)
    stored = store.store_file(content(tmp_path / "a", data))
    assert stored.content == blob(data)
    assert stored.compressed is not None
    assert stored.leaves == (stored.compressed,)
    frame = stored_bytes(cache, stored.compressed)
    assert zstandard.get_frame_parameters(frame).content_size == len(data)
    assert zstandard.ZstdDecompressor().decompress(frame) == data
    assert (store.counts.blobs_compressed, store.counts.bytes_compressed) == (1, len(data))
    assert (store.counts.files_hashed, store.counts.bytes_hashed, store.counts.bytes_read) == (1, len(data), len(data))
    assert store.find(stored.content) == stored


@pytest.mark.usefixtures("streaming")
@pytest.mark.parametrize(
    "start", [b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_what_begins_like_a_compressed_file_is_stored_as_it_is(
    tmp_path: Path, store: ContentStore, start: bytes
) -> None:
    data = start + text(5000)
    assert store.store_file(content(tmp_path / "a", data)) == plain(data)
    assert store.counts.blobs_compressed == 0


@pytest.mark.usefixtures("streaming")
def test_a_stream_that_does_not_pay_after_its_sample_is_read_again(tmp_path: Path, store: ContentStore) -> None:
    data = text(64 << 10) + noise(8 * MIB)
    assert store.store_file(content(tmp_path / "a", data)) == plain(data)
    assert store.counts.bytes_read == 2 * len(data)
    assert store.counts.bytes_hashed == len(data)


@pytest.mark.usefixtures("streaming")
def test_a_stream_whose_sample_does_not_pay_is_read_once(tmp_path: Path, store: ContentStore) -> None:
    data = noise(64 << 10) + text(MIB)
    assert store.store_file(content(tmp_path / "a", data)) == plain(data)
    assert store.counts.bytes_read == len(data)


@pytest.mark.usefixtures("streaming")
@pytest.mark.parametrize(("more", "compressed"), [(0, True), (1, False)])
def test_a_sample_pays_from_the_ratio_of_the_plan_on(tmp_path: Path, cache: Cache, more: int, compressed: bool) -> None:
    data = text(64 << 10)
    ratio = Fraction(len(data) + more, len(compress(data, 1)))
    store = ContentStore(cache, replace(PLAN, compress_ratio=ratio))  # type: ignore[arg-type]
    assert (store.store_file(content(tmp_path / "a", data)).compressed is not None) is compressed


@pytest.mark.usefixtures("streaming")
@pytest.mark.parametrize(("more", "compressed"), [(0, True), (1, False)])
def test_a_stream_is_compressed_from_the_ratio_of_the_plan_on(
    tmp_path: Path, cache: Cache, more: int, compressed: bool
) -> None:
    data = text(64 << 10) + noise(64 << 10)
    found = content(tmp_path / "a", data)
    with Cache(str(tmp_path / "other")) as other:
        frame = ContentStore(other, replace(PLAN, compress_ratio=1)).store_file(found).compressed
    assert frame is not None
    store = ContentStore(cache, replace(PLAN, compress_ratio=Fraction(len(data) + more, frame.size)))  # type: ignore[arg-type]
    assert (store.store_file(found).compressed is not None) is compressed


@pytest.mark.parametrize(("size", "compressed"), [(5000, True), (5001, False)])
def test_what_is_streamed_is_judged_by_its_start(
    tmp_path: Path, store: ContentStore, monkeypatch: pytest.MonkeyPatch, size: int, compressed: bool
) -> None:
    monkeypatch.setattr(content_store, "_ONE_SHOT", 5000)
    found = content(tmp_path / "a", b"\x1f\x8b" + text(size - 2))
    assert (store.store_file(found).compressed is not None) is compressed


@pytest.mark.usefixtures("streaming")
def test_a_stream_that_somebody_else_stored_is_proven_and_not_read(tmp_path: Path) -> None:
    data = text(5000)
    found = content(tmp_path / "a", data)._replace(digest=blob(data).digest)
    for user, read in ((b"they", 5000), (b"we", 0)):
        with Cache(str(tmp_path / "cache"), Seal(user)) as cache:
            store = ContentStore(cache, PLAN)
            store.store_file(found)
            assert store.counts.bytes_read == read


def test_leaves_are_full_wherever_the_parts_of_a_stream_end(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_store, "LEAF", 10)
    slices = content_store._Slices(cache)
    for part in (b"abcdefg", b"hijklmn", b"opqrstu"):
        slices.write(part)
    assert slices.finish() == blob(b"abcdefghijklmnopqrstu")
    assert slices.leaves == [blob(b"abcdefghij"), blob(b"klmnopqrst"), blob(b"u")]


@pytest.mark.usefixtures("streaming")
def test_a_stream_that_is_stored_is_not_read(tmp_path: Path, store: ContentStore) -> None:
    found = content(tmp_path / "a", text(5000))
    stored = store.store_file(found)
    read = store.counts.bytes_read
    known = found._replace(digest=stored.content.digest)
    assert store.store_file(known) == stored
    assert store.counts.bytes_read == read


@pytest.mark.usefixtures("streaming")
def test_a_stream_that_the_base_has_is_hashed_and_not_compressed(tmp_path: Path, cache: Cache) -> None:
    data, frame, done = text(5000), compress(text(5000), 3), list[int]()
    theirs = StoredContent(blob(data), blob(frame), (blob(frame),))
    base = Base([], {blob(frame): frame}.__getitem__, {blob(data).digest: theirs}, is_trusted=True)
    store = ContentStore(cache, PLAN, base, done.append)
    assert store.store_file(content(tmp_path / "a", data)) == theirs
    due = Counts(files_hashed=1, bytes_hashed=5000, bytes_read=5000, contents_of_base=1)
    assert store.counts.to_value() == due.to_value()
    assert base.taken == {blob(frame)}
    assert done == [5000]


@pytest.mark.usefixtures("streaming")
def test_a_stream_with_another_digest_than_before_is_refused(tmp_path: Path, store: ContentStore) -> None:
    found = content(tmp_path / "a", text(5000))
    with pytest.raises(InputChangedError):
        store.store_file(found._replace(digest=blob(b"other").digest, stat_key=None))


@pytest.mark.usefixtures("streaming")
@pytest.mark.parametrize("extra", [0, 1, LEAF])
def test_a_large_content_is_cut_into_leaves(tmp_path: Path, store: ContentStore, cache: Cache, extra: int) -> None:
    data = noise(LEAF + extra)
    stored = store.store_file(content(tmp_path / "a", data))
    parts = [data[at : at + LEAF] for at in range(0, len(data), LEAF)]
    assert stored == StoredContent(blob(data), None, tuple(map(blob, parts)))
    assert [stored_bytes(cache, leaf) for leaf in stored.leaves] == parts


@pytest.mark.usefixtures("streaming")
def test_a_frame_is_cut_into_leaves_across_its_parts(
    tmp_path: Path, store: ContentStore, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_store, "LEAF", 1000)
    data = b"".join(text(700, n) + noise(300, n) for n in range(40))
    stored = store.store_file(content(tmp_path / "a", data))
    assert stored.compressed is not None
    assert [leaf.size for leaf in stored.leaves[:-1]] == [1000] * (len(stored.leaves) - 1)
    frame = b"".join(stored_bytes(cache, leaf) for leaf in stored.leaves)
    assert blob(frame) == stored.compressed
    assert zstandard.ZstdDecompressor().decompress(frame) == data


def test_nothing_is_begun_after_a_stop(tmp_path: Path, store: ContentStore) -> None:
    found = content(tmp_path / "a", text(5000))
    store.stop.set()
    with pytest.raises(StoppedError, match=r"^stopped$"):
        store.store_file(found)
    with pytest.raises(StoppedError, match=r"^stopped$"):
        store.store_bytes(b"x", blob(b"x"))
    with pytest.raises(StoppedError, match=r"^stopped$"):
        store.store_bundle([small("/a", b"x"), small("/b", b"y")])


@pytest.mark.usefixtures("streaming")
def test_no_stream_is_read_after_a_stop(tmp_path: Path, store: ContentStore) -> None:
    store.stop.set()
    with pytest.raises(StoppedError, match=r"^stopped$"):
        store.store_file(content(tmp_path / "a", text(5000)))


def test_counts_add_up() -> None:
    counts = Counts()
    counts.add(files_hashed=2, bytes_read=3)
    counts.add(files_hashed=True)
    assert (counts.files_hashed, counts.bytes_read, counts.bytes_hashed) == (3, 3, 0)
