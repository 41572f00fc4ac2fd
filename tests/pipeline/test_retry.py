"""Lost or damaged data in the work directory: the next build rebuilds it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from otabuild.errors import OtabuildError
from otabuild.pipeline.lint_recipe import lint_recipe
from otabuild.pipeline.steps.graph import build_steps
from tests.pipeline.signing_world import RECIPE, World
from tests.rootfs.layouts import Layout
from tests.rootfs.tars import END, member

ARCHIVES = Path("work/archives")
OTHER = "storage: {compress-level: 3, bundle-level: 3}\n"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


def each(pattern: str, damage: Callable[[Path], None]) -> Callable[[], None]:
    def apply() -> None:
        found = list(ARCHIVES.rglob(pattern))
        assert found
        for path in found:
            damage(path)

    return apply


DAMAGES = {
    "all gone": lambda: shutil.rmtree(ARCHIVES),
    "tar gone": lambda: shutil.rmtree(ARCHIVES / "tar"),
    "layers gone": lambda: shutil.rmtree(ARCHIVES / "layers"),
    "spools gone": each("*.spool", Path.unlink),
    "spools flipped": each("*.spool", flip),
    "spools cut": each("*.spool", lambda path: os.truncate(path, 5)),
    "entries flipped": each("*.entries", flip),
    "entries cut": each("*.entries", lambda path: os.truncate(path, 5)),
    "states flipped": each("state", flip),
}


@pytest.fixture
def archives(world: World) -> World:
    """A rootfs from a compressed archive, and one from a container image."""
    with tarfile.open(world.folder / "a.tar.gz", "w:gz") as tar:
        tar.add(world.folder / "rootfs", ".")
    layout = Layout(world.folder / "layout")
    text = b"".join(b"%d\n" % number for number in range(3000))
    layout.index(layout.image(member(b"one", text) + END, member(b"two", text[::-1]) + END))
    recipe = RECIPE.replace("directory: rootfs", "tar: a.tar.gz").replace(
        "payloads: [", "payloads: [{ecu: b, rootfs: b}, "
    )
    source = '{source: {oci: layout}, base-image: "test:1", architecture: x86_64, owner: "0:0"}'
    (world.folder / "v.yaml").write_text(recipe.replace("payloads", f"  b: {source}\npayloads"))
    world.now = int(time.time()) + 1000
    return world


def change(world: World, *, scan: bool) -> None:
    """Make the next build repeat everything, with or without the scan."""
    with (world.folder / "v.yaml").open("a") as file:
        file.write(OTHER)
    if scan:
        for stamp in Path("work/recipes/v").glob("scan.*"):
            stamp.unlink()


@pytest.mark.parametrize("scan", [False, True], ids=["store", "scan"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_indexes_of_archives(archives: World, damage: str, scan: bool) -> None:
    archives.build()
    change(archives, scan=scan)
    DAMAGES[damage]()
    found = archives.build()
    archives.build()
    assert archives.built() == []
    archives.forget()
    assert archives.build() == found


@pytest.mark.parametrize("pattern", ["state", "*.entries", "*.spool"])
def test_a_pipe_in_the_place_of_an_index_is_not_waited_for(archives: World, pattern: str) -> None:
    archives.build()
    change(archives, scan=True)

    def put_pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    each(pattern, put_pipe)()
    with suppress(OtabuildError):  # it may refuse to replace a pipe
        archives.build()
    for path in ARCHIVES.rglob(pattern):
        path.unlink()
    archives.build()


def test_an_archive_that_changed_is_not_ours_to_mend(archives: World) -> None:
    (archives.folder / "v.yaml").write_text(RECIPE.replace("directory: rootfs}", "tar: a.tar}, partial: true"))
    (archives.folder / "a.tar").write_bytes(member(b"one", b"1" * 5000) + END)
    steps = build_steps(archives.recipe, archives.workspace)
    for step in steps[:2]:
        step.execute()
    flip(archives.folder / "a.tar")
    (archives.folder / "a.tar").write_bytes(member(b"one", b"2" * 5000) + END)
    with pytest.raises(OtabuildError, match=r"a\.tar: content is no longer what it was"):
        steps[2].execute()
    assert archives.warnings == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE hashed SET inline = zeroblob(length(inline))",
        "UPDATE hashed SET digest = zeroblob(32)",
        "UPDATE hashed SET digest = zeroblob(3)",
        "UPDATE hashed SET digest = 'text'",
        "UPDATE hashed SET inline = 'text'",
    ],
)
def test_notes_of_hashed_files(world: World, statement: str) -> None:
    world.now = int(time.time()) + 1000
    (world.folder / "v.yaml").write_text(RECIPE)
    (world.folder / "rootfs/large").write_bytes(os.urandom(1000) * 3000)
    world.build()
    with sqlite3.connect("work/cache/cache.sqlite3") as database:
        assert database.execute(statement).rowcount
    database.close()
    (world.folder / "rootfs/new").write_bytes(b"new")
    change(world, scan=False)
    found = world.build()
    world.forget()
    assert world.build() == found


@pytest.mark.parametrize("damage", ["entries flipped", "spools flipped"])
def test_lint_mends_too(archives: World, damage: str) -> None:
    with tarfile.open(archives.folder / "a.tar.gz", "w:gz") as tar:
        (archives.folder / "rootfs/module.pyc").write_bytes(b"python" * 100)
        tar.add(archives.folder / "rootfs", ".")
    found = list(lint_recipe(archives.recipe, archives.workspace))
    DAMAGES[damage]()
    assert list(lint_recipe(archives.recipe, archives.workspace)) == found


def flipped(value: bytes) -> bytes:
    data = bytearray(value)
    data[len(data) // 3] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE made SET value = flipped(value)",
        "UPDATE made SET value = 'text'",
        "UPDATE blobs SET offset = -1",
        "UPDATE blobs SET offset = 'text'",
        "UPDATE blobs SET pack = 'text'",
        "ALTER TABLE hashed RENAME COLUMN digest TO other",
        "DROP TABLE made; CREATE TABLE made (key BLOB PRIMARY KEY)",
    ],
)
def test_damage_of_the_cache_database_that_sqlite_does_not_see(world: World, statement: str) -> None:
    (world.folder / "v.yaml").write_text(RECIPE)
    (world.folder / "rootfs/large").write_bytes(os.urandom(1000) * 300)
    found = world.build()
    shutil.rmtree("work/recipes")
    with sqlite3.connect("work/cache/cache.sqlite3") as database:
        database.create_function("flipped", 1, flipped)
        database.executescript(statement)
    database.close()
    assert world.build() == found


def test_a_cache_database_that_no_sqlite_can_read(world: World) -> None:
    (world.folder / "v.yaml").write_text(RECIPE)
    found = world.build()
    shutil.rmtree("work/recipes")
    with open("work/cache/cache.sqlite3", "r+b") as file:
        file.seek(47)  # the schema format, 1 to 4
        file.write(b"\x40")
    assert world.build() == found


def test_a_pack_behind_a_link(world: World) -> None:
    (world.folder / "v.yaml").write_text(RECIPE)
    found = world.build()
    pack = Path("work/cache/packs/1")
    pack.symlink_to(pack.rename(pack.with_name("elsewhere")).name)
    world.artifact.unlink()
    assert world.build() == found
