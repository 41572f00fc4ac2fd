"""Package databases that are broken, hostile or huge: a note, in bounded memory; everything else is still told."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild.image.image import open_image
from otabuild.packages.survey import read_inventory
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.recipe.load import load_recipe
from otabuild.verification.verify import verify
from tests.fuzz.tables import TARGETS
from tests.image.products import Tree, build, workspace, write_recipe
from tests.packages.databases import rpm_database, rpm_header

STATUS, INFO, RPM = "var/lib/dpkg/status", "var/lib/dpkg/info", "usr/lib/sysimage/rpm/rpmdb.sqlite"
OTHER: Tree = {"opt/lib/own-1.dist-info/METADATA": b"Name: own\nVersion: 1\n"}
MIB = 1 << 20
MEMORY = 250 * MIB


def sql(folder: Path, script: str) -> bytes:
    folder.mkdir(exist_ok=True)
    path = folder / "made.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path.read_bytes()


def view(folder: Path, select: str) -> bytes:
    """Return a database in which `Packages` is made up by SQLite while it is read."""
    return sql(folder, f"CREATE VIEW Packages (hnum, blob) AS {select}")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, {} FROM n"
CASES: dict[str, Callable[[Path], Tree]] = {
    "huge": lambda _: {STATUS: b"\0" * (33 * MIB)},
    "endless stanza": lambda _: {STATUS: b"Package: a\n" + b"Text: b\n" * (2 * MIB)},
    "a field twice": lambda _: {STATUS: b"Package: a\nVersion: 1\nPackage: b\n"},
    "blank lines": lambda _: {STATUS: b"a\n\n" * (10 * MIB)},
    "many packages": lambda _: {STATUS: b"Package: a\n\n" * 30_000},
    "many lists": lambda _: _lists(4 * MIB - 1),
    "deep lists": lambda _: _lists(4 * MIB - 1, b"/opt/.." * 50 + b"/%d/x"),
    "a directory": lambda _: {f"{STATUS}/x": b"y"},
    "a circle of links": lambda _: {STATUS: "status-old", "var/lib/dpkg/status-old": "status"},
    "not SQLite": lambda _: {RPM: b"x" * 4096},
    "an empty SQLite": lambda folder: {RPM: sql(folder, "CREATE TABLE x (y)")},
    "a part of SQLite": lambda folder: {RPM: rpm_database(folder / "db", rpm_header("a", "1", "1"))[:-4096]},
    "SQLite without end": lambda folder: {RPM: view(folder, ENDLESS.format("x''"))},
    "SQLite with empty text": lambda folder: {RPM: view(folder, ENDLESS.format("NULL") + " WHERE i < 0")},
    "a bomb of SQLite": lambda folder: {RPM: view(folder, ENDLESS.format("zeroblob(16000000)"))},
    "a list without end": lambda folder: {RPM: rpm_database(folder / "db", _endless_list())},
    "a Berkeley database": lambda _: {"var/lib/rpm/Packages": b"\0" * 4096},
    "a database of ndb": lambda _: {"var/lib/rpm/Packages.db": b"RpmP" + b"\0" * 4096},
    "apk without end": lambda _: {"lib/apk/db/installed": b"P:a\n" + b"R:x\n" * (3 * MIB)},
    "opkg twice": lambda _: {"var/lib/opkg/status": b"Package: a\nPackage: b\n"},
    "pacman": lambda _: {f"var/lib/pacman/local/{n}/desc": b"%NAME%\n" + b"x" * (4 * MIB - 8) for n in range(17)},
    "npm": lambda _: {"node_modules/a/package.json": b"[" * 100_000},
    "much npm": lambda _: {f"node_modules/a{n}/package.json": b" " * 4 * MIB for n in range(17)},
    "no name": lambda _: {"opt/a-1.dist-info/METADATA": b"Version: 1\n"},
    "record": lambda _: {"opt/a-1.dist-info/METADATA": b"Name: a\nVersion: 1\n", "opt/a-1.dist-info/RECORD": b'"' + b"x" * 200_000},
    "go": lambda _: {"usr/bin/tool": (_program(), 0o755)},
}  # fmt: skip


def _lists(size: int, line: bytes = b"/x") -> Tree:
    count = size // (len(line) + 5)
    text = b"\n".join(line % number if b"%" in line else line for number in range(count))
    status = b"".join(b"Package: p%d\n\n" % number for number in range(8))
    return {STATUS: status, **{f"{INFO}/p{number}.list": b"%d" % number + text for number in range(8)}}


def _endless_list() -> bytes:
    """Return the header of a package that claims a million files."""
    entry = (1117).to_bytes(4, "big") + (8).to_bytes(4, "big") + bytes(4) + (1_000_000).to_bytes(4, "big")
    return (1).to_bytes(4, "big") + MIB.to_bytes(4, "big") + entry + bytes(MIB)


def _program() -> bytes:
    """Return a program whose section of build information is larger than any memory."""
    program = bytearray(TARGETS["go"].seeds()["program"])
    at = int.from_bytes(program[40:48], "little")
    program[at + 32 : at + 40] = (1 << 60).to_bytes(8, "little")
    return bytes(program) + bytes(300_000)


_MEASURED = """\
import resource, sys
from otabuild.cli import main
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))  # seconds, after which it would be killed
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""


def is_a_note(image: Path) -> None:
    """Check that reading it takes at most 250 MB and 10 s, finds what is beside it, and does not change what verify says."""
    command = [sys.executable, "-c", _MEASURED, "packages", str(image), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["payloads"][0]
    assert len(found["notes"]) == 1, found["notes"]
    assert "own" in [package["name"] for package in found["packages"]]
    assert int(done.stderr.split()[-1]) * 1024 < MEMORY
    with open_image(image) as opened:
        assert verify(opened, None, 0, without_signature=True).ok


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_database_is_a_note(tmp_path: Path, case: str) -> None:
    is_a_note(build(tmp_path / "image", OTHER | CASES[case](tmp_path)))


@pytest.mark.sweep
@pytest.mark.parametrize("path", [STATUS, RPM])
def test_a_database_of_two_gibibytes_is_a_note(tmp_path: Path, path: str) -> None:
    recipe = load_recipe(write_recipe(tmp_path, OTHER | {path: b""}))
    os.truncate(tmp_path / "rootfs" / path, 2 << 30)
    run_steps(build_steps(recipe, workspace(tmp_path)), time.monotonic, lambda _text: None)
    is_a_note(tmp_path / "image.zip")


@pytest.mark.root
def test_a_device_in_the_place_of_a_database_is_no_database(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, OTHER))
    (tmp_path / "rootfs/var/lib/dpkg").mkdir(parents=True)
    os.mknod(tmp_path / "rootfs" / STATUS, stat.S_IFCHR | 0o644, os.makedev(0, 0))
    run_steps(build_steps(recipe, workspace(tmp_path)), time.monotonic, lambda _text: None)
    with open_image(tmp_path / "image.zip") as image:
        found = read_inventory(image.payload("main"))
    assert ["not a regular file" in note.why for note in found.notes] == [True]
