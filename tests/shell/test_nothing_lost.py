"""Killed, interrupted and damaged builds: the next build has the same result as a clean one."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.shell.projects import HERE, STEPS, WORK, Project, make_project

INTERRUPT = str(HERE / "interrupt.py")
SHELLS = [["build", "recipes/vehicle.yaml"], ["doit", "build"]]
ids = pytest.mark.parametrize("shell", SHELLS, ids=["otabuild", "doit"])


def changes(project: Project) -> list[str]:
    """Return every change of the file system in a clean build with one thread, in order."""
    done = project.run(INTERRUPT, "0", "0", *SHELLS[0], OTABUILD_JOBS="1")
    assert done.code == 0, done.err
    return [line for line in done.out.splitlines() if line.startswith("change ")]


def hit(project: Project, number: int, number_of_signal: int, shell: list[str]) -> int:
    return project.run(INTERRUPT, str(number), str(number_of_signal), *shell, OTABUILD_JOBS="1").code


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """The changes of a clean build, and the SHA-256 of its result."""
    project = make_project(tmp_path_factory.mktemp("clean") / "product")
    return changes(project), project.sha256


def _commits(found: list[str]) -> list[int]:
    """Find where a step removes its stamp, and just before and after it writes it; the same for the artifact."""
    places = []
    for number, change in enumerate(found, 1):
        _, phase, operation, path = change.split(maxsplit=3)
        name = path.rpartition("/")[2]
        if (name.endswith(".stamp") and (operation == "rename" or phase == "after")) or (
            operation == "rename" and name == "vehicle.zip"
        ):
            places.append(number)
    return places


def test_a_kill_in_any_step(project: Project, clean: tuple[list[str], str]) -> None:
    found, sha256 = clean
    stamps = [number for number in _commits(found) if "rename" in found[number - 1]]
    assert len(stamps) >= 2 * len(STEPS)
    for number in stamps:  # each continues where the previous one was killed
        (project.root / "rootfs/etc/hostname").write_text("test\n")
        code = hit(project, number, signal.SIGKILL, SHELLS[number % 2])
        assert code in {-signal.SIGKILL, 0}
        assert project.build() == sha256
        assert project.leftovers() == []
        shutil.rmtree(project.root / "build")
        shutil.rmtree(project.root / "dist")


@pytest.mark.sweep
def test_a_kill_at_any_change(project: Project, clean: tuple[list[str], str]) -> None:
    found, sha256 = clean
    for number in range(1, len(found) + 1):
        assert hit(project, number, signal.SIGKILL, SHELLS[0]) in {-signal.SIGKILL, 0}
        assert project.build() == sha256
        assert project.doit("clean").code == 0
        (project.root / WORK / "cache/cache.sqlite3").unlink()


def test_a_kill_while_another_input_was_built(project: Project, clean: tuple[list[str], str]) -> None:
    found, sha256 = clean
    hostname = project.root / "rootfs/etc/hostname"
    assert project.build() == sha256
    for fraction in (4, 2, 1.3, 1.05):
        hostname.write_text("other\n")
        hit(project, int(len(found) / fraction), signal.SIGKILL, SHELLS[0])
        hostname.write_text("test\n")
        assert project.build() == sha256


@ids
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_signals(project: Project, shell: list[str], number: int, code: int, clean: tuple[list[str], str]) -> None:
    found, sha256 = clean
    middle = len(found) * 2 // 3
    assert hit(project, middle, number, shell) == code
    assert not project.artifact.exists()
    assert project.leftovers() == []
    assert project.build() == sha256


@ids
def test_a_damaged_artifact_is_made_again(project: Project, shell: list[str]) -> None:
    first = project.build()
    for damage in (b"", b"PK", project.artifact.read_bytes()[:-1] + b"\xff"):
        project.artifact.write_bytes(damage)
        assert project.run(INTERRUPT, "0", "0", *shell).code == 0
        assert project.sha256 == first


def _packs(project: Project) -> list[Path]:
    return sorted((project.root / WORK / "cache/packs").iterdir())


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_damaged_blobs_are_made_again(project: Project, damage: str) -> None:
    first = project.build()
    for pack in _packs(project):
        data = bytearray(pack.read_bytes())
        if damage == "flipped":
            data[len(data) // 2] ^= 1
            pack.write_bytes(data)
        elif damage == "cut":
            pack.write_bytes(data[:-10])
        else:
            pack.unlink()
    project.artifact.unlink()
    assert project.build() == first


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "foreign", "removed"])
def test_a_damaged_cache_database(project: Project, damage: str) -> None:
    first = project.build()
    database = project.root / WORK / "cache/cache.sqlite3"
    data = database.read_bytes()
    if damage == "removed":
        database.unlink()
    elif damage == "foreign":
        database.unlink()
        with sqlite3.connect(database) as connection:
            connection.execute("create table blobs (x)")
        connection.close()
    else:
        database.write_bytes({"garbage": b"x" * len(data), "cut": data[: len(data) // 2], "empty": b""}[damage])
    project.artifact.unlink()
    (project.root / "rootfs/etc/new").write_text("new\n")
    (project.root / "rootfs/etc/new").unlink()
    assert project.build() == first


@pytest.mark.parametrize("damage", ["removed", "garbage", "other json", "a folder"])
def test_a_damaged_stamp(project: Project, damage: str) -> None:
    first = project.build()
    for stamp in sorted((project.root / WORK / "recipes/vehicle").glob("*.stamp")):
        stamp.unlink()
        if damage == "garbage":
            stamp.write_bytes(b"\xff{")
        elif damage == "other json":
            stamp.write_text('{"key": 1, "results": [], "outputs": null}')
        elif damage == "a folder":
            continue
        done = project.doit("build")
        assert done.code == 0, done.out + done.err
        assert project.sha256 == first


@pytest.mark.parametrize(
    "name", ["rootfs/main.entries", "rootfs/main.tree", "storage", "leaves", "blobs", "index.json", "index.jwt"]
)
def test_a_damaged_intermediate_file(project: Project, name: str) -> None:
    first = project.build()
    path = project.root / WORK / "recipes/vehicle" / name
    path.write_bytes(b"\x00" + path.read_bytes()[:-1])
    project.artifact.unlink()
    assert project.build() == first
    path.unlink()
    assert project.build() == first


@pytest.mark.parametrize(
    ("env", "umask"),
    [
        ({"PYTHONHASHSEED": "1"}, -1),
        ({"PYTHONHASHSEED": "2", "OTABUILD_JOBS": "1"}, -1),
        ({"OTABUILD_JOBS": "7"}, -1),
        ({"TZ": "Pacific/Kiritimati"}, -1),
        ({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}, -1),
        ({"LC_ALL": "tr_TR.UTF-8"}, -1),
        ({"HOME": "/nonexistent", "USER": "somebody"}, -1),
        ({}, 0o077),
        ({}, 0),
    ],
    ids=str,
)
def test_surroundings_change_no_byte(
    project: Project, env: dict[str, str], umask: int, clean: tuple[list[str], str]
) -> None:
    done = project.doit("build", umask=umask, **env)
    assert done.code == 0, done.out + done.err
    assert project.sha256 == clean[1]
    assert project.artifact.stat().st_mode & 0o777 == 0o644


def test_the_two_shells_make_the_same(project: Project, clean: tuple[list[str], str]) -> None:
    assert project.otabuild("build", "vehicle.yaml", cwd="recipes").code == 0
    assert project.sha256 == clean[1]


def test_source_date_epoch_wins(project: Project, clean: tuple[list[str], str]) -> None:
    assert project.build(SOURCE_DATE_EPOCH="1735689600") == clean[1]  # 2025-01-01, as in the recipe
    assert project.build(SOURCE_DATE_EPOCH="1735689601") != clean[1]
