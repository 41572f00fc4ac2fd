"""What every place to read an image from must do; a new one adds a line to `PLACES`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, StateError
from otabuild.storage.backend import CHUNK, Backend
from otabuild.storage.backends import open_backend
from otabuild.storage.member import Member, arrange, document
from otabuild.storage.sink import ArtifactSink, DirectorySink
from tests.leaks import nothing_left
from tests.storage.small_images import image

PutImage = Callable[[Path, list[Member]], Path]
"""Puts an image into a folder of the test, and returns what opens it."""


def artifact(folder: Path, members: list[Member]) -> Path:
    ArtifactSink(str(folder / "image.zip")).write(members, workers=1, progress=lambda _size: None)
    return folder / "image.zip"


def directory(folder: Path, members: list[Member]) -> Path:
    DirectorySink(str(folder / "image")).write(members, workers=1, progress=lambda _size: None)
    return folder / "image"


PLACES: list[PutImage] = [artifact, directory]
LARGE = os.urandom(2 * CHUNK + 5)
LARGE_NAME = f"blobs/sha256/{hashlib.sha256(LARGE).hexdigest()}"
EMPTY_NAME = f"blobs/sha256/{hashlib.sha256(b'').hexdigest()}"
MEMBERS = [*image("one"), document(LARGE_NAME, LARGE), document(EMPTY_NAME, b"")]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    put: PutImage = request.param
    return put(tmp_path, MEMBERS)


@pytest.fixture
def backend(place: Path) -> Iterator[Backend]:
    opened = open_backend(place)
    yield opened
    opened.close()


def test_it_lists_what_was_written(backend: Backend) -> None:
    listed = {(member.name, member.size) for member in backend.members()}
    assert listed == {(member.name, member.size) for member in arrange(MEMBERS)}


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


def test_it_says_where_it_is_and_how_large(place: Path, backend: Backend) -> None:
    assert backend.path == str(place)
    assert backend.total_size() >= sum(member.size for member in MEMBERS)
    assert (backend.artifact_digest() is not None) == backend.is_artifact
    if place.is_file():
        assert backend.total_size() == place.stat().st_size
        assert backend.artifact_digest() == hashlib.sha256(place.read_bytes()).digest()


def test_another_image_under_its_path_changes_nothing(place: Path, backend: Backend) -> None:
    os.rename(place, place.with_name("moved"))
    assert b"".join(backend.chunks(LARGE_NAME)) == LARGE


def test_what_got_shorter_is_an_error(place: Path, backend: Backend) -> None:
    os.truncate(place if place.is_file() else place / LARGE_NAME, CHUNK)
    with pytest.raises(IntegrityError):
        list(backend.chunks(LARGE_NAME, 0, len(LARGE)))


def test_nothing_is_written_into_it(place: Path, backend: Backend) -> None:
    backend.check_apart(place.with_name("beside"))
    with pytest.raises(StateError, match="inside the image"):
        backend.check_apart(place if place.is_file() else place / "new")
