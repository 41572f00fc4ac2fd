"""Inputs that change again so soon that the time stamps of the file system do not show it."""

from __future__ import annotations

import io
import os
import tarfile
import time

import pytest

from otabuild.rootfs import content, directory, tar_source
from otabuild.rootfs.entry import StatKey
from tests.pipeline.signing_world import RECIPE, World


@pytest.fixture
def coarse(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A file system whose clock does not advance."""
    world.now = int(time.time())
    tick = world.now * 10**9

    def stat_key(status: os.stat_result) -> StatKey:
        return StatKey(status.st_dev, status.st_ino, status.st_size, tick, tick)

    for module in (content, directory, tar_source):
        monkeypatch.setattr(module, "stat_key", stat_key)
    monkeypatch.setattr(directory, "_stat_fields", lambda status: (status.st_mode, status.st_size))
    return world


def later(world: World) -> bytes:
    """Return the result of a build ten seconds later, which must equal that of a build from scratch."""
    world.now += 10
    found = world.build()
    told = list(world.told)
    world.forget()
    assert world.build() == found
    world.told[:] = told
    return found


@pytest.mark.parametrize("name", ["hostname", "numbers"])
def test_a_file_of_a_directory(coarse: World, name: str) -> None:
    (coarse.folder / "v.yaml").write_text(RECIPE)
    first = coarse.build()
    path = coarse.folder / "rootfs/etc" / name
    with path.open("r+b") as file:
        file.write(b"X")
    assert later(coarse) != first
    assert {"scan", "store", "tables"} <= set(coarse.built())


def test_an_archive(coarse: World) -> None:
    def write(text: bytes) -> None:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            member = tarfile.TarInfo("file")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        with (coarse.folder / "a.tar").open("r+b" if (coarse.folder / "a.tar").exists() else "wb") as file:
            file.write(raw.getvalue())

    (coarse.folder / "v.yaml").write_text(RECIPE.replace("directory: rootfs", "tar: a.tar"))
    write(b"1" * 500)
    first = coarse.build()
    write(b"2" * 500)
    assert later(coarse) != first


def test_what_is_old_is_not_looked_at_again(world: World) -> None:
    (world.folder / "v.yaml").write_text(RECIPE)
    world.now = int(time.time()) + 1000
    world.build()
    world.build()
    assert world.built() == []
