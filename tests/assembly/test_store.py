"""Trees become contents: what is bundled, what is single, what is inlined, and that only trees and plan decide."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otabuild.assembly import store
from otabuild.assembly.base import Base
from otabuild.assembly.content_store import Counts, StoppedError
from otabuild.assembly.store import Environment, store_contents
from otabuild.assembly.stored import Bundle, Storage
from otabuild.assembly.tree import TreeRow
from otabuild.errors import InputChangedError, LimitError
from otabuild.format.digest import Blob
from otabuild.rootfs.entry import RACY_NS, Entry
from otabuild.storage.cache import Cache, FileKey
from otabuild.storage.seal import Seal
from tests.assembly.worlds import FOLDER, LINK, PLAN, blob, entries, environment, noise, plain, text


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(str(tmp_path / "cache")) as cache:
        yield cache


def stored(cache: Cache, *trees: list[Entry], base: Base | None = None) -> tuple[Storage, list[list[TreeRow]], Counts]:
    """Store trees, and return what `store_contents` returns, with the rows read."""
    storage, rows, counts = store_contents([partial(iter, tree) for tree in trees], PLAN, environment(cache), base)
    return storage, [list(each) for each in rows], counts


def members(storage: Storage) -> list[list[bytes]]:
    return [[part.blob.digest for part in bundle.members] for bundle in storage.bundles]


def digests(*contents: bytes) -> list[bytes]:
    return [blob(data).digest for data in contents]


def test_sizes_decide_how_a_content_is_stored(tmp_path: Path, cache: Cache) -> None:
    files = {
        "/0": b"",
        "/1": b"x",
        "/2": noise(64, 2),
        "/3": noise(65, 3),
        "/4": noise(1000, 4),
        "/5": noise(1001, 5),
    }
    storage, [rows], counts = stored(cache, entries(tmp_path / "tree", files))
    assert members(storage) == [digests(files["/3"], files["/4"])]
    assert storage.singles == [plain(files["/5"])]
    assert [row.inline for row in rows] == [None, b"x", files["/2"], None, None, None]
    assert [(row.path, row.digest, row.size) for row in rows] == [
        (path, blob(data).digest, len(data)) for path, data in files.items()
    ]
    assert counts.files_hashed == 5
    assert counts.bytes_hashed == counts.bytes_read == 1 + 64 + 65 + 1000 + 1001


def test_a_bundle_over_a_mebibyte_is_whole(tmp_path: Path, cache: Cache) -> None:
    files = {f"/{n:03}": noise(900_000, n) for n in range(4)}
    plan = replace(PLAN, bundle_member_max=1 << 20, bundle_max=3_000_000)
    tree = entries(tmp_path / "tree", files)
    storage, _rows, _counts = store_contents([lambda: tree], plan, environment(cache))
    [bundle] = storage.bundles
    assert bundle.stored.content == blob(b"".join(list(files.values())[:3]))
    assert [part.offset for part in bundle.members] == [0, 900_000, 1_800_000]
    assert b"".join(cache.chunks(bundle.stored.leaves[0])) == b"".join(list(files.values())[:3])
    assert [single.content for single in storage.singles] == [blob(files["/003"])]


def test_bundles_end_where_the_plan_says_and_where_a_tree_ends(tmp_path: Path, cache: Cache) -> None:
    first = {f"/{n}": noise(900, n) for n in range(5)}
    second = {f"/{n}": noise(500, 10 + n) for n in range(3)}
    storage, _rows, _counts = stored(cache, entries(tmp_path / "a", first), entries(tmp_path / "b", second))
    one, two = list(first.values()), list(second.values())
    assert members(storage) == [digests(*one[:2]), digests(*one[2:4]), digests(*two)]
    assert storage.singles == [plain(one[4])]  # alone in its bundle


def test_equal_contents_are_stored_once(tmp_path: Path, cache: Cache) -> None:
    small, large = noise(500), noise(5000)
    files = {"/a": small, "/b": small, "/c": large, "/d": large, "/e": noise(400, 5)}
    storage, [rows], _counts = stored(cache, entries(tmp_path / "tree", files))
    assert members(storage) == [digests(small, files["/e"])]
    assert storage.singles == [plain(large)]
    assert [row.digest for row in rows] == digests(*files.values())


def test_hard_links_are_read_once_and_numbered_in_order(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {"/a": noise(500), "/b": noise(500), "/c": noise(300, 3)})
    linked = [
        tree[0]._replace(link="x"),
        Entry("/a1", FOLDER, 1, 2, {"user.x": b"1"}, None, None, None),
        Entry("/a2", LINK, 0, 0, {}, "to", None, None),
        tree[1]._replace(link="x"),
        tree[2]._replace(link="y"),
    ]
    _storage, [rows], counts = stored(cache, linked)
    assert [row.link for row in rows] == [0, None, None, 0, 1]
    assert rows[1] == TreeRow("/a1", FOLDER, 1, 2, b"\x81\xa6user.x\xc4\x011", None, None, None, 0, None)
    assert (rows[2].target, rows[2].digest, rows[2].xattrs) == ("to", None, None)
    assert counts.files_hashed == 2


def test_a_second_run_reads_nothing(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {"/1": b"tiny", "/2": noise(500), "/3": noise(600, 3), "/4": noise(5000, 4)})
    first = stored(cache, tree)
    again = stored(cache, tree)
    assert again[:2] == first[:2]
    assert again[2].bytes_read == again[2].files_hashed == 0
    assert again[2].contents_reused == 2


def test_a_second_run_does_not_read_what_is_alone_in_its_bundle(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {"/a": noise(500)})
    assert [stored(cache, tree)[2].bytes_read for _run in range(2)] == [500, 0]


def test_what_changed_lately_is_hashed_again(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {"/1": noise(500)})
    assert tree[0].content is not None
    key = tree[0].content.stat_key
    assert key is not None
    changed = max(key.mtime_ns, key.ctime_ns)
    for now_ns, hashed in [(changed + RACY_NS, 1), (changed + RACY_NS + 1, 1), (changed, 0)]:
        around = Environment(cache, 1, now_ns, lambda _done: None)
        assert store_contents([lambda: tree], PLAN, around)[2].files_hashed == hashed


def test_progress_counts_every_byte_once(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {"/1": b"tiny", "/2": noise(500), "/3": noise(600, 3), "/4": noise(5000, 4)})
    for _run in range(2):
        done: list[int] = []
        store_contents([lambda: tree], PLAN, Environment(cache, 2, 0, done.append))
        assert sum(done) == 4 + 500 + 600 + 5000


@pytest.mark.parametrize("large", [2000, 20_000])
def test_progress_counts_the_bytes_of_every_path(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(store, "_LARGE", large)
    files = {"/1": b"tiny", "/2": noise(500), "/3": noise(5000), "/4": noise(5000), "/5": noise(500)}
    tree = entries(tmp_path / "tree", files)
    digest = hashlib.sha256(files["/3"]).digest()
    equal = [entry._replace(content=entry.content and entry.content._replace(digest=digest)) for entry in tree[-3:-1]]
    linked = [entry._replace(link="/3") for entry in tree if entry.path == "/3"]
    for trees in ([*tree, *linked, *linked], [*equal, *tree]):
        done: list[int] = []
        store_contents([partial(iter, trees)], PLAN, replace(environment(cache, 1), progress=done.append))
        assert sum(done) == sum(entry.content.size for entry in trees if entry.content)


def test_a_file_that_changed_stops_the_run(tmp_path: Path, cache: Cache) -> None:
    tree = entries(tmp_path / "tree", {f"/{n}": noise(5000, n) for n in range(20)})
    (tmp_path / "tree/0").write_bytes(b"changed")
    with pytest.raises((InputChangedError, StoppedError)):
        stored(cache, tree)


def test_base_are_reused_from_half_of_their_bytes_on(tmp_path: Path, cache: Cache) -> None:
    parts = [noise(300, n) for n in range(4)]
    whole = [b"".join(parts[:2]), b"".join(parts[2:])]
    bundles = [
        Bundle.of(plain(whole[0]), [blob(part) for part in parts[:2]]),
        Bundle.of(plain(whole[1] + b"x"), [blob(part) for part in parts[2:]]),
    ]
    base = Base(bundles, {blob(whole[0]): whole[0], blob(whole[1] + b"x"): whole[1] + b"x"}.__getitem__)
    files = {"/z": parts[0], "/b": parts[2], "/a": noise(200, 9), "/c": noise(100, 8)}
    storage, _rows, _counts = stored(cache, entries(tmp_path / "tree", files), base=base)
    assert (
        storage.bundles[0].members
        == Bundle.of(plain(files["/a"] + files["/c"]), [blob(files["/a"]), blob(files["/c"])]).members
    )
    assert storage.bundles[1] == Bundle.with_members(bundles[0].stored, bundles[0].members[:1])
    assert storage.singles == [plain(parts[2])]  # 300 of 601 bytes are not worth the rest


def test_what_is_left_of_a_base_is_bundled_in_path_order(tmp_path: Path, cache: Cache) -> None:
    parts = [noise(300, n) for n in range(4)]
    pads = [noise(900, 10 + n) for n in range(2)]
    bundles = [
        Bundle.of(plain(parts[0] + parts[2] + pads[0]), [blob(parts[0]), blob(parts[2]), blob(pads[0])]),
        Bundle.of(plain(parts[1] + parts[3] + pads[1]), [blob(parts[1]), blob(parts[3]), blob(pads[1])]),
    ]
    base = Base(bundles, lambda _blob: b"")
    files = {f"/{n}": part for n, part in enumerate(parts)}
    storage, _rows, _counts = stored(cache, entries(tmp_path / "tree", files), base=base)
    assert members(storage) == [digests(*parts)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 3)), max_size=12), st.integers(1, 4))
def test_only_trees_and_plan_decide(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], workers: int
) -> None:
    tmp = tmp_path_factory.mktemp("store")
    files = {f"/{n:02}": text(size, seed) for n, (size, seed) in enumerate(shapes)}
    tree = entries(tmp / "tree", files)
    with Cache(str(tmp / "one")) as one, Cache(str(tmp / "two")) as two:
        first = store_contents([lambda: tree], PLAN, environment(one, workers))
        rows = list(first[1][0])
        for cache, threads in ((two, 1), (one, 3)):
            storage, trees, _counts = store_contents([lambda: tree], PLAN, environment(cache, threads))
            assert (storage, list(trees[0])) == (first[0], rows)
    assert [row.digest for row in rows] == [blob(data).digest for data in files.values()]


class WatchedCache(Cache):
    """A cache that records the batches of hashes it is given or asked for, and how many threads add blobs at a time."""

    batches: list[int]
    asked: list[int]
    adding: int
    most: int

    def remember_hashed(self, rows: Iterable[tuple[FileKey, bytes, bytes | None]]) -> None:
        batch = list(rows)
        self.batches.append(len(batch))
        super().remember_hashed(batch)

    def hashed(self, keys: Iterable[FileKey]) -> dict[FileKey, tuple[bytes, bytes | None]]:
        batch = list(keys)
        self.asked.append(len(batch))
        return super().hashed(batch)

    def add(self, data: bytes) -> Blob:
        self.adding += 1
        self.most = max(self.most, self.adding)
        time.sleep(0.001)  # long enough for any other thread to show itself
        self.adding -= 1
        return super().add(data)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedCache]:
    with WatchedCache(str(tmp_path / "watched")) as cache:
        cache.batches, cache.asked, cache.adding, cache.most = [], [], 0, 0
        yield cache


@pytest.mark.parametrize(("limit", "batches"), [(1, [1, 1, 1, 1, 1, 0]), (3, [3, 2])])
def test_hashes_are_remembered_in_batches(
    tmp_path: Path, watched: WatchedCache, monkeypatch: pytest.MonkeyPatch, limit: int, batches: list[int]
) -> None:
    monkeypatch.setattr(store, "_BATCH", limit)
    tree = entries(tmp_path / "tree", {f"/{n}": noise(500, n) for n in range(5)})
    stored(watched, tree)
    assert watched.batches == batches
    assert stored(watched, tree)[2].files_hashed == 0


def test_hashes_are_asked_for_in_batches(
    tmp_path: Path, watched: WatchedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_BATCH", 3)
    stored(watched, entries(tmp_path / "tree", {f"/{n}": noise(500, n) for n in range(5)}))
    assert watched.asked == [3, 2]


def test_only_what_is_inlined_is_remembered_with_its_bytes(tmp_path: Path, cache: Cache) -> None:
    files = {f"/{size}": noise(size, size) for size in (64, 65, 2000)}
    tree = entries(tmp_path / "tree", files)
    stored(cache, tree)
    keys = [entry.content.stat_key for entry in tree if entry.content and entry.content.stat_key]
    found = cache.hashed(keys)
    assert {found[key] for key in keys} == {
        (blob(data).digest, data if len(data) == 64 else None) for data in files.values()
    }


def test_there_are_no_more_threads_than_workers(tmp_path: Path, watched: WatchedCache) -> None:
    tree = entries(tmp_path / "tree", {f"/{n}": noise(1500, n) for n in range(20)})
    store_contents([lambda: tree], PLAN, environment(watched, 1))
    assert watched.most == 1


@pytest.mark.parametrize(("mebibytes", "jobs"), [(1, 16), (8, 8), (12, 4), (16, 4), (32, 2), (64, 2)])
def test_what_is_in_progress_takes_32_mebibytes_per_worker(cache: Cache, mebibytes: int, jobs: int) -> None:
    ended: list[int] = []
    with store._StoreRun(replace(PLAN, bundle_max=mebibytes << 20), environment(cache, 2), None) as run:
        for number in range(jobs + 2):
            run._start(partial(ended.append, number))
        assert ended == [0, 1]


def test_what_has_not_begun_when_a_run_fails_never_does(cache: Cache) -> None:
    run = store._StoreRun(PLAN, environment(cache, 1), None)
    run._pool.submit(run.store.stop.wait, 10)
    waiting = run._pool.submit(int)
    with pytest.raises(KeyError), run:
        raise KeyError
    assert run.store.stop.is_set()
    assert waiting.cancelled()


def test_many_contents_at_once_are_all_stored(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_BACKLOG", 1)
    files = {f"/{n:02}": noise(990 if n % 2 else 1500, n) for n in range(40)}
    tree = entries(tmp_path / "tree", files)
    storage, _rows, _counts = store_contents([lambda: tree], PLAN, environment(cache, 1))
    assert {single.content for single in storage.singles} == {blob(files[f"/{n:02}"]) for n in range(0, 40, 2)}
    assert members(storage) == [digests(files[f"/{n:02}"], files[f"/{n + 2:02}"]) for n in range(1, 40, 4)]


def test_large_contents_are_begun_first_and_stored_once(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LARGE", 2000)
    files = {
        "/0": noise(1999),
        "/a": noise(2000, 1),
        "/b": noise(2001, 2),
        "/c": noise(3000, 3),
        "/d": noise(3000, 3),
    }
    storage, [rows], counts = stored(cache, entries(tmp_path / "tree", files))
    assert storage.singles == [plain(files[path]) for path in ("/c", "/b", "/0", "/a")]
    assert [row.digest for row in rows] == digests(*files.values())
    assert counts.files_hashed == 5


@pytest.mark.parametrize("size", [500, 5000])
def test_progress_counts_once_what_is_already_stored(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(store, "_LARGE", 2000)
    monkeypatch.setattr(store, "_BATCH", 1)  # so that hashes are known as soon as a thread is done
    files = {f"/{n:02}": noise(size, n) for n in range(30)}
    tree = entries(tmp_path / "tree", files)
    for read in (size * 30, 0):
        done: list[int] = []
        _storage, _rows, counts = store_contents(
            [lambda: tree], PLAN, replace(environment(cache, 1), progress=done.append)
        )
        assert sorted(done) == [size] * 30
        assert counts.bytes_read == read


def without_stat_keys(tree: list[Entry], digest: bytes) -> list[Entry]:
    """Return a tree as from a container: each file has a digest, and nothing else tells whether it changed."""
    return [
        entry._replace(content=entry.content and entry.content._replace(digest=digest, stat_key=None)) for entry in tree
    ]


def test_equal_contents_of_a_container_are_stored_once(tmp_path: Path, cache: Cache) -> None:
    data = noise(5000)
    tree = without_stat_keys(entries(tmp_path / "tree", {"/a": data, "/b": data}), blob(data).digest)
    storage, [rows], counts = stored(cache, tree)
    assert storage.singles == [plain(data)]
    assert [row.digest for row in rows] == digests(data, data)
    assert (counts.bytes_read, counts.contents_reused) == (5000, 0)


def test_a_content_of_a_container_that_is_not_its_digest_is_refused(tmp_path: Path, cache: Cache) -> None:
    tree = without_stat_keys(entries(tmp_path / "tree", {"/a": noise(5000)}), blob(b"other").digest)
    with pytest.raises(InputChangedError):
        stored(cache, tree)


def test_what_somebody_else_stored_is_proven_and_not_read(tmp_path: Path) -> None:
    files = {"/a": text(5000), "/b": text(900, 1), "/c": text(800, 2)}
    tree = entries(tmp_path / "tree", files)
    tree = [without_stat_keys([entry], blob(files[entry.path]).digest)[0] for entry in tree]
    for user, read in ((b"they", 6700), (b"we", 0)):
        with Cache(str(tmp_path / "cache"), Seal(user)) as cache:
            assert stored(cache, tree)[2].bytes_read == read


def test_attributes_that_are_too_large_are_told_with_their_path(tmp_path: Path, cache: Cache) -> None:
    tree = [Entry("/a", FOLDER, 0, 0, {"user.x": bytes(70_000)}, None, None, None)]
    with pytest.raises(LimitError) as caught:
        stored(cache, tree)
    assert caught.value.where == "/a user.x"
