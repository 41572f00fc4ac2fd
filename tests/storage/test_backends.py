"""What every place to read an image from must do; a new one adds a line to `PLACES`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from otabuild.errors import IntegrityError, LimitError, StateError
from otabuild.storage.backend import CHUNK, Backend, Wanted
from otabuild.storage.backends import open_backend
from otabuild.storage.member import Member, arrange, document
from otabuild.storage.member_backend import MemberBackend
from otabuild.storage.sink import ArtifactSink, DirectorySink
from otabuild.stores.folder_store import FolderStore
from otabuild.stores.store_artifact_backend import StoreArtifactBackend
from otabuild.stores.store_backend import StoreBackend
from tests.leaks import nothing_left
from tests.storage.small_images import image
from tests.stores.images import put_release
from tests.stores.memory_store import MemoryStore


class Place(NamedTuple):
    """An image somewhere: how to open it, what it is called, and its path if it is on this machine."""

    name: str
    open: Callable[[], Backend]
    path: Path | None = None


PutImage = Callable[[Path, list[Member]], Place]
"""Puts an image into a folder of the test, or into a store."""


def _local(path: Path) -> Place:
    return Place(str(path), lambda: open_backend(path), path)


def artifact(folder: Path, members: list[Member]) -> Place:
    ArtifactSink(str(folder / "image.zip")).write(members, workers=1, progress=lambda _size: None)
    return _local(folder / "image.zip")


def directory(folder: Path, members: list[Member]) -> Place:
    DirectorySink(str(folder / "image")).write(members, workers=1, progress=lambda _size: None)
    return _local(folder / "image")


def release_in_folder(folder: Path, members: list[Member]) -> Place:
    put_release(FolderStore(str(folder), str(folder)), members)
    return _local(folder / "releases/1.0")


def release_in_store(_folder: Path, members: list[Member]) -> Place:
    store = MemoryStore()
    put_release(store, members)
    return Place("memory:releases/1.0", lambda: StoreBackend("memory:releases/1.0", store, "releases/1.0"))


def release_with_its_own_blobs(_folder: Path, members: list[Member]) -> Place:
    """As it looks behind a web server that shows nothing but releases."""
    store = MemoryStore()
    for member in members:
        store.put(f"releases/1.0/{member.name}", member)
    opened = partial(StoreBackend, "memory:releases/1.0", store, "releases/1.0", can_list=False)
    return Place("memory:releases/1.0", opened)


def directory_in_store(_folder: Path, members: list[Member]) -> Place:
    store = MemoryStore()
    for member in members:
        store.put(f"some/image/{member.name}", member)
    return Place("memory:image", lambda: StoreBackend("memory:image", store, "some/image"))


def directory_in_folder_store(folder: Path, members: list[Member]) -> Place:
    store = FolderStore(str(folder), str(folder))
    for member in members:
        store.put(member.name, member)
    return Place("folder", lambda: StoreBackend("folder", store, ""))


def artifact_in_store(folder: Path, members: list[Member]) -> Place:
    made = artifact(folder, members).path
    assert made is not None
    store = MemoryStore()
    store.put("some/image.zip", document("image.zip", made.read_bytes()))
    return Place("memory:image", lambda: StoreArtifactBackend("memory:image", store, "some/image.zip"))


def unwritten(_folder: Path, members: list[Member]) -> Place:
    return Place("unwritten", lambda: MemberBackend("unwritten", members))


PLACES: list[PutImage] = [
    artifact,
    directory,
    release_in_folder,
    release_in_store,
    release_with_its_own_blobs,
    directory_in_store,
    directory_in_folder_store,
    artifact_in_store,
    unwritten,
]
LARGE = os.urandom(2 * CHUNK + 5)
LARGE_NAME = f"blobs/sha256/{hashlib.sha256(LARGE).hexdigest()}"
EMPTY_NAME = f"blobs/sha256/{hashlib.sha256(b'').hexdigest()}"
MEMBERS = [*image("one"), document(LARGE_NAME, LARGE), document(EMPTY_NAME, b"")]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    put: PutImage = request.param
    return put(tmp_path, MEMBERS)


@pytest.fixture
def path(place: Place) -> Path:
    """The path of an image on this machine."""
    if place.path is None:
        pytest.skip("not on this machine")
    return place.path


@pytest.fixture
def backend(place: Place) -> Iterator[Backend]:
    opened = place.open()
    yield opened
    opened.close()


def test_it_lists_what_was_written(backend: Backend) -> None:
    listed = {(member.name, member.size) for member in backend.members()}
    written = {(member.name, member.size) for member in arrange(MEMBERS)}
    if not backend.lists_blobs:
        written = {(name, size) for name, size in written if not name.startswith("blobs/")}
    assert listed == (written if backend.lists_files else set())


def test_it_reads_a_document_as_a_whole_up_to_a_limit(backend: Backend) -> None:
    for name in ("index.json", "oci-layout"):
        (content,) = (b"".join(member.read()) for member in MEMBERS if member.name == name)
        assert backend.read(name, len(content)) == content
        with pytest.raises(LimitError):
            backend.read(name, len(content) - 1)
    assert backend.read("index.jwt", 100) is None


def test_it_reads_neighbours_together(backend: Backend) -> None:
    files = [Wanted(member.name, member.size) for member in arrange(MEMBERS) if not member.name.endswith("/")]
    for pair in pairwise(files):
        if backend.joins(pair[:1], pair[1]):
            for file, found in zip(pair, backend.fetch_joined(pair), strict=True):
                assert found in (None, b"".join(backend.chunks(file.name)))


def test_it_returns_the_bytes_in_small_parts(backend: Backend) -> None:
    for member in MEMBERS:
        parts = list(backend.chunks(member.name))
        assert b"".join(parts) == b"".join(member.read())
        assert backend.size(member.name) == member.size
        assert all(0 < len(part) <= CHUNK for part in parts)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (7, 8), (CHUNK - 1, CHUNK + 1), (5, None), (len(LARGE), None), (1, len(LARGE))]
)
def test_it_returns_a_range(start: int, end: int | None, backend: Backend) -> None:
    assert b"".join(backend.chunks(LARGE_NAME, start, end)) == LARGE[start:end]


@pytest.mark.parametrize(("start", "end"), [(0, len(LARGE) + 1), (len(LARGE) + 1, None), (5, 4), (-1, 4)])
def test_a_range_that_is_not_there_is_an_error(start: int, end: int | None, backend: Backend) -> None:
    with pytest.raises(IntegrityError, match="shorter"):
        list(backend.chunks(LARGE_NAME, start, end))


@pytest.mark.parametrize("name", ["index.jwt", f"blobs/sha256/{'0' * 64}", "no/such/file"])
def test_what_is_missing_has_no_size_and_no_bytes(name: str, backend: Backend) -> None:
    assert backend.size(name) is None
    with pytest.raises(IntegrityError, match="missing"):
        list(backend.chunks(name))


def test_many_threads_may_read(backend: Backend) -> None:
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda _number: b"".join(backend.chunks(LARGE_NAME)), range(16))
        assert set(read) == {LARGE}


def test_a_reader_that_stops_early_leaves_nothing_open(backend: Backend) -> None:
    with nothing_left():
        reader = backend.chunks(LARGE_NAME)
        next(reader)
        reader.close()  # type: ignore[attr-defined]


def test_it_says_where_it_is_and_how_large(place: Place, backend: Backend) -> None:
    assert backend.path == place.name
    total = backend.total_size()
    assert total is None or total >= sum(member.size for member in MEMBERS)
    if place.path is not None:
        assert (backend.artifact_digest() is not None) == backend.is_artifact
        assert (total is None) == (not backend.lists_blobs)
        assert backend.traffic() is None
    if place.path is not None and place.path.is_file():
        assert total == place.path.stat().st_size
        assert backend.artifact_digest() == hashlib.sha256(place.path.read_bytes()).digest()


def test_another_image_under_its_path_changes_nothing(path: Path, backend: Backend) -> None:
    os.rename(path, path.with_name("moved"))
    assert b"".join(backend.chunks(LARGE_NAME)) == LARGE


def test_what_got_shorter_is_an_error(path: Path, backend: Backend) -> None:
    os.truncate(path if path.is_file() else path / LARGE_NAME, CHUNK)
    with pytest.raises(IntegrityError):
        list(backend.chunks(LARGE_NAME, 0, len(LARGE)))


def test_nothing_is_written_into_it(path: Path, backend: Backend) -> None:
    backend.check_apart(path.with_name("beside"))
    for inside in [path] if path.is_file() else [path / "new", path / "blobs/new", (path / "blobs").resolve() / "new"]:
        with pytest.raises(StateError, match="inside the image"):
            backend.check_apart(inside)
