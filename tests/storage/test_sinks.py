"""What every place to write an image to must do; a new one adds a line to `SINKS`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from otabuild.errors import StorageError
from otabuild.storage.backend import CHUNK
from otabuild.storage.backends import open_backend
from otabuild.storage.cache import Cache
from otabuild.storage.member import DamagedBlobError, Member, arrange, document
from otabuild.storage.sink import ArtifactSink, DirectorySink, Sink
from tests.storage.small_images import image

SINKS = [ArtifactSink, DirectorySink]
LARGE = os.urandom(2 * CHUNK + 5)
DIGEST = hashlib.sha256(LARGE).digest()
NAME = f"blobs/sha256/{DIGEST.hex()}"


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    made: Sink = request.param(str(tmp_path / "image"))
    return made


def write(sink: Sink, members: list[Member], workers: int = 2) -> tuple[str | None, int]:
    """Write, and return what the sink returned and the bytes that it announced."""
    sizes: list[int] = []
    sha256 = sink.write(members, workers=workers, progress=sizes.append)
    return sha256, sum(sizes)


def contents(sink: Sink) -> dict[str, bytes]:
    backend = open_backend(sink.path)
    try:
        return {
            name: b"" if name.endswith("/") else b"".join(backend.chunks(name))
            for name, _size, _mode in backend.members()
        }
    finally:
        backend.close()


def expected(members: list[Member]) -> dict[str, bytes]:
    return {member.name: b"".join(member.read()) for member in arrange(members)}


def large(*parts: bytes) -> Member:
    return Member(NAME, len(LARGE), lambda: parts, DIGEST)


def test_it_writes_every_member(sink: Sink) -> None:
    members = [*image("one"), large(LARGE[:CHUNK], LARGE[CHUNK:]), document(f"blobs/sha256/{'1' * 64}", b"")]
    for order in (members, members[::-1]):
        sha256, announced = write(sink, order)
        assert contents(sink) == expected(members)
        assert announced == sum(member.size for member in members)
        if sha256 is not None:
            assert sha256 == hashlib.sha256(Path(sink.path).read_bytes()).hexdigest()


def test_it_takes_blobs_from_the_cache(sink: Sink, tmp_path: Path) -> None:
    with Cache(str(tmp_path / "cache")) as cache:
        blob = cache.add(LARGE)
        write(sink, [*image("one"), Member(NAME, blob.size, partial(cache.chunks, blob), blob.digest)])
    assert contents(sink)[NAME] == LARGE


@pytest.mark.parametrize(
    "parts",
    [(), (LARGE[:-1],), (LARGE, b"more"), (LARGE[:CHUNK], LARGE[:CHUNK], LARGE[-5:])],
    ids=["nothing", "shorter", "longer", "other"],
)
def test_a_blob_that_is_not_what_it_should_be_leaves_the_old_image(sink: Sink, parts: tuple[bytes, ...]) -> None:
    write(sink, image("old"))
    with pytest.raises(DamagedBlobError) as caught:
        write(sink, [*image("new"), large(*parts)])
    assert caught.value.digest == DIGEST
    assert contents(sink) == expected(image("old"))
    assert os.listdir(Path(sink.path).parent) == ["image"]


def test_a_source_that_fails_leaves_the_old_image(sink: Sink) -> None:
    def fail() -> Iterator[bytes]:
        yield LARGE[:CHUNK]
        raise StorageError("cannot read", where="disk")

    write(sink, image("old"))
    with pytest.raises(StorageError, match="disk: cannot read"):
        write(sink, [*image("new"), Member(NAME, len(LARGE), fail, DIGEST)])
    assert contents(sink) == expected(image("old"))
    assert os.listdir(Path(sink.path).parent) == ["image"]


def test_the_number_of_workers_changes_nothing(sink: Sink) -> None:
    members = [*image("one"), *(document(f"blobs/sha256/{n:064x}", os.urandom(n)) for n in range(200))]
    found = set()
    for workers in (1, 4):
        sha256, _ = write(sink, members, workers)
        found.add((sha256, tuple(sorted(contents(sink).items()))))
    assert len(found) == 1
