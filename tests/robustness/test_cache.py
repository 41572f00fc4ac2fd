"""The data kept for later builds: shown, verified, pruned, and limited in size."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otabuild.format.digest import Blob
from otabuild.storage.cache import Cache
from tests.shell.projects import WORK, Project


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(str(tmp_path / "cache")) as cache:
        yield cache


def fill(cache: Cache, count: int, size: int = 100_000) -> list[Blob]:
    """Blobs that were used at 1, 2, 3..."""
    blobs = []
    for number in range(1, count + 1):
        blobs.append(cache.add(random.Random(number).randbytes(size)))
        cache.mark_used([blobs[-1]], number)
    return blobs


def sound(cache: Cache, blob: Blob) -> bool:
    return cache.has(blob) and cache.is_sound(blob)


def test_what_was_not_used_for_longest_goes_first(cache: Cache) -> None:
    blobs = fill(cache, 5)
    cache.mark_used([blobs[0]], 9)
    assert cache.shrink(250_000, spare=100) == 3
    assert [cache.has(blob) for blob in blobs] == [True, False, False, False, True]
    assert all(sound(cache, blob) for blob in (blobs[0], blobs[4]))
    assert cache.usage()[:2] == (2, 200_000)


def test_what_is_in_use_stays_whatever_the_size(cache: Cache) -> None:
    blobs = fill(cache, 5)
    new = cache.add(b"not marked yet")
    assert cache.shrink(0, spare=4) == 3
    assert [cache.has(blob) for blob in (*blobs, new)] == [False, False, False, True, True, True]
    cache.mark_used([], 7)
    assert cache.shrink(0, spare=100) == 3


def test_the_room_of_what_was_dropped_comes_back(cache: Cache) -> None:
    blobs = fill(cache, 10)
    cache.mark_used(blobs[::2], 20)
    before = cache.usage()[2]
    cache.shrink(0, spare=20)
    assert cache.usage()[2] <= before - 4 * 90_000
    assert all(sound(cache, blob) for blob in blobs[::2])


def test_a_pack_without_blobs_goes(cache: Cache) -> None:
    folder = Path(cache.folder)
    fill(cache, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_pack", cache._pack + 1)  # as in another run
        cache.shrink(0, spare=100)
    assert os.listdir(folder / "packs") == []


def run(project: Project, *arguments: str) -> Any:
    done = project.otabuild("cache", *arguments, "--json")
    assert done.err == ""
    return json.loads(done.out)


def test_show_prune_verify(project: Project) -> None:
    sha256 = project.build()
    shown = run(project, "show")
    assert shown["blobs"] > 3
    assert shown["limit"] == 20 << 30
    assert run(project, "verify") == {"ok": True, "blobs": shown["blobs"], "damaged": []}
    assert run(project, "prune")["freed"] == 0
    assert run(project, "prune", "--size", "0") == {
        "ok": True,
        "freed": shown["blob-bytes"],
        "blobs-dropped": shown["blobs"],
        "blobs": 0,
    }
    project.artifact.unlink()
    assert project.build() == sha256


def test_verify_drops_what_is_damaged(project: Project) -> None:
    sha256 = project.build()
    pack = next((project.root / WORK / "cache/packs").iterdir())
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    done = project.otabuild("cache", "verify")
    assert (done.code, "1 damaged" in done.out) == (1, True)
    assert project.otabuild("cache", "verify").code == 0
    project.artifact.unlink()
    assert project.build() == sha256


@pytest.mark.parametrize("shell", ["doit", "otabuild"])
def test_a_build_keeps_to_the_size_and_keeps_what_it_used(project: Project, shell: str) -> None:
    (project.root / "pyproject.toml").write_text('[tool.otabuild]\ncache-size = "600 KiB"\n')
    large = project.root / "rootfs/usr/bin/large"
    for number in range(3):
        large.write_bytes(random.Random(number).randbytes(400_000))
        done = project.doit("build") if shell == "doit" else project.otabuild("build", "recipes/vehicle.yaml")
        assert done.code == 0, done.err
        shown = run(project, "show")
        assert 400_000 < shown["blob-bytes"] < 700_000
        assert shown["cache-disk-bytes"] < 1_000_000
    project.artifact.unlink()
    done = project.otabuild("build", "recipes/vehicle.yaml")
    assert "damaged" not in done.err
    assert done.code == 0


def test_a_size_that_is_none(project: Project) -> None:
    (project.root / "pyproject.toml").write_text('[tool.otabuild]\ncache-size = "much"\n')
    done = project.otabuild("build", "recipes/vehicle.yaml")
    assert done.code == 1
    assert "cache-size" in done.err


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[[]]", b"[" * 3000])
def test_a_damaged_list_of_layers_removes_none(project: Project, damage: bytes) -> None:
    project.build()
    layers = project.root / WORK / "archives/layers"
    layers.mkdir(parents=True)
    (layers / "key.used").write_bytes(damage)
    (layers / "kept.spool").write_bytes(b"x" * (4000 - len(damage)))
    run(project, "prune", "--size", "4000")
    assert (layers / "kept.spool").exists()


def test_layers_that_no_scan_uses_go(project: Project) -> None:
    project.build()
    layers = project.root / WORK / "archives/layers"
    layers.mkdir(parents=True)
    (layers / "key.used").write_text('["kept"]')
    for name in ("kept.spool", "kept.entries", "old.spool", "old.entries", "old.spool.otabuild-tmp"):
        (layers / name).write_bytes(b"x" * 1000)
    run(project, "prune", "--size", "4000")
    assert sorted(os.listdir(layers)) == ["kept.entries", "kept.spool", "key.used"]
    run(project, "prune", "--size", "0")
    assert not layers.exists()
