"""What every kind of store must do; a new one adds a line to `kinds.py`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError
from otabuild.storage.backend import CHUNK, Wanted
from otabuild.storage.member import DamagedBlobError, Member, document
from otabuild.stores.object_store import ObjectStore
from otabuild.stores.open_store import open_store
from otabuild.stores.store import Store, StoreFile
from tests.stores.kinds import WRITABLE, place_of
from tests.stores.memory_store import MemoryStore

LARGE = os.urandom(2 * CHUNK + 5)
LARGE_DIGEST = hashlib.sha256(LARGE).digest()
LARGE_KEY = f"blobs/sha256/{LARGE_DIGEST.hex()}"


@pytest.fixture(params=["memory", *WRITABLE])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        made: Store = MemoryStore()
    else:
        made = open_store(place_of(request.param, tmp_path.name, request, monkeypatch)[0])
    yield made
    made.close()


def put(store: Store, key: str, content: bytes) -> None:
    store.put(key, document(key, content))


def large(content: bytes = LARGE) -> Member:
    parts = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    return Member(LARGE_KEY, len(LARGE), lambda: parts, LARGE_DIGEST)


def load(store: Store, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(store.chunks(key, start, end))


_PUTS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from otabuild.storage.member import Member
from otabuild.stores.object_store import ObjectStore
from otabuild.stores.open_store import open_store
store = open_store(sys.argv[1])
def put(number):
    store.put(f"releases/{number}/large", Member("large", 32 << 20, lambda: [bytes(1 << 20)] * 32))
with ThreadPoolExecutor(16) as pool:
    list(pool.map(put, range(16)))
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
"""Prints the peak of its own memory in KiB; what `wait4` tells begins with that of the process of the tests."""


@pytest.mark.parametrize("kind", WRITABLE)
def test_sixteen_large_files_at_once_take_little_memory(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = place_of(kind, tmp_path.name, request, monkeypatch)
    done = subprocess.run([sys.executable, "-c", _PUTS, url], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) <= 200 << 10


@pytest.mark.parametrize("content", [b"", b"one", LARGE], ids=["empty", "small", "large"])
def test_it_gives_back_what_was_put(content: bytes, store: Store) -> None:
    put(store, "releases/1.0/index.json", content)
    assert load(store, "releases/1.0/index.json") == content


def test_it_gives_small_parts(store: Store) -> None:
    store.put(LARGE_KEY, large())
    parts = list(store.chunks(LARGE_KEY))
    assert b"".join(parts) == LARGE
    assert all(0 < len(part) <= CHUNK for part in parts)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (7, 8), (CHUNK - 1, CHUNK + 1), (5, None), (len(LARGE), None), (1, len(LARGE))]
)
def test_it_gives_a_range(start: int, end: int | None, store: Store) -> None:
    store.put(LARGE_KEY, large())
    assert load(store, LARGE_KEY, start, end) == LARGE[start:end]


@pytest.mark.parametrize(("start", "end"), [(0, len(LARGE) + 1), (len(LARGE) + 1, None), (len(LARGE), len(LARGE) + 7)])
def test_a_range_that_is_not_there_is_an_error(start: int, end: int | None, store: Store) -> None:
    store.put(LARGE_KEY, large())
    with pytest.raises(IntegrityError, match="shorter"):
        load(store, LARGE_KEY, start, end)


def test_a_file_is_replaced(store: Store) -> None:
    put(store, "prune/a", b"old and long")
    put(store, "prune/a", b"new")
    assert load(store, "prune/a") == b"new"


def test_nothing_is_put_if_the_bytes_are_not_those_of_the_digest(store: Store) -> None:
    for wrong in (LARGE[:-1], LARGE + b"x", b"x" + LARGE[1:]):
        with pytest.raises(DamagedBlobError):
            store.put(LARGE_KEY, large(wrong))
    assert store.stat(LARGE_KEY) is None
    if store.can_list:
        assert [*store.files("blobs/")] == []


def test_a_failed_put_leaves_the_old_file(store: Store) -> None:
    store.put(LARGE_KEY, large())
    with pytest.raises(DamagedBlobError):
        store.put(LARGE_KEY, large(LARGE[:-1]))
    assert load(store, LARGE_KEY) == LARGE


def test_stat_knows_size_and_time(store: Store) -> None:
    put(store, "withdrawn/1.0", b"12345")
    found = store.stat("withdrawn/1.0")
    assert found is not None
    assert (found.key, found.size) == ("withdrawn/1.0", 5)
    assert abs(found.modified - time.time()) < 60


@pytest.mark.parametrize("key", ["withdrawn/1.0", "no/such/file"])
def test_what_is_missing_is_missing(key: str, store: Store) -> None:
    put(store, "withdrawn/2.0", b"2")
    assert store.stat(key) is None
    with pytest.raises(IntegrityError):
        load(store, key)


def test_it_lists_below_a_folder(store: Store) -> None:
    if not store.can_list:
        pytest.skip("this kind cannot list")
    files = {
        "claims/1.0@aa": b"1",
        "claims/2.0@bb": b"22",
        "releases/1.0/data/a": b"333",
        "releases/1.0/index.json": b"",
    }
    for key, content in files.items():
        put(store, key, content)
    assert sizes(store.files("")) == {key: len(content) for key, content in files.items()}
    assert sizes(store.files("claims/")) == {"claims/1.0@aa": 1, "claims/2.0@bb": 2}
    assert sizes(store.files("releases/1.0/data/")) == {"releases/1.0/data/a": 3}
    assert sizes(store.files("prune/")) == {}


def sizes(listed: Iterator[StoreFile]) -> dict[str, int]:
    return {file.key: file.size for file in listed}


def test_it_lists_more_than_one_page(store: Store) -> None:
    if not store.can_list:
        pytest.skip("this kind cannot list")
    keys = {f"blobs/sha256/{number:064x}" for number in range(1100)}
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda key: put(store, key, b"x"), keys))
    assert {file.key for file in store.files("blobs/")} == keys


def test_it_deletes(store: Store) -> None:
    for key in ("releases/1.0/index.json", "releases/1.0/data/a", "releases/2.0/index.json"):
        put(store, key, b"x")
    for key in ("releases/1.0/data/a", "releases/1.0/index.json", "releases/1.0/index.json"):
        store.delete(key)
    assert store.stat("releases/1.0/index.json") is None
    assert load(store, "releases/2.0/index.json") == b"x"
    if store.can_list:
        assert {*sizes(store.files(""))} == {"releases/2.0/index.json"}


@pytest.mark.parametrize("name", ["v1.2-3-gabc+dirty_x~1", "ü", "a b", "100%", "a%41", "#1", "a?b=c&d"])
def test_names_are_taken_as_they_are(name: str, store: Store) -> None:
    put(store, f"releases/{name}/index.json", name.encode())
    assert load(store, f"releases/{name}/index.json") == name.encode()
    if store.can_list:
        assert {*sizes(store.files("releases/"))} == {f"releases/{name}/index.json"}


def test_it_fetches_small_files_together(store: Store) -> None:
    contents = {f"blobs/sha256/{number}": b"%d" % number * number for number in (1, 30, 2000)}
    for key, content in contents.items():
        put(store, key, content)
    files = [Wanted(key, len(content)) for key, content in contents.items()]
    requests, size = store.traffic.requests, store.traffic.bytes
    found = store.fetch([*files, Wanted("blobs/sha256/1", 2), Wanted("blobs/sha256/30", 5), Wanted("blobs/none", 1)])
    if isinstance(store, ObjectStore):
        assert found == [*contents.values(), None, None, None]
        assert store.traffic.requests == requests + 6
        assert store.traffic.bytes == size + sum(map(len, contents.values()))
    else:
        assert found == [None] * 6


def test_it_counts_requests_and_bytes(store: Store) -> None:
    store.put(LARGE_KEY, large())
    load(store, LARGE_KEY, 0, 1)  # whether the server has ranges is known now
    requests, size = store.traffic.requests, store.traffic.bytes
    load(store, LARGE_KEY, 10, 30)
    assert store.traffic.requests == requests + 1
    assert 20 <= store.traffic.bytes - size <= CHUNK


def test_many_threads_put_the_same_and_other_files(store: Store) -> None:
    contents = [bytes([number % 10]) * 1000 for number in range(60)]
    members = [Member("", 1000, lambda one=one: (one,), hashlib.sha256(one).digest()) for one in contents]  # type: ignore[misc]
    keys = [f"blobs/sha256/{hashlib.sha256(one).hexdigest()}" for one in contents]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.put, keys, members))
        assert list(threads.map(lambda key: load(store, key), keys)) == contents


def test_many_threads_delete_a_release_together(store: Store) -> None:
    for number in range(10):
        keys = [f"releases/{number}/{name}" for name in ("index.json", "index.jwt", "oci-layout", "data/a", "data/b")]
        for key in keys:
            put(store, key, b"x")
        with ThreadPoolExecutor(5) as threads:
            list(threads.map(store.delete, keys))
        assert [key for key in keys if store.stat(key) is not None] == []
