"""A restored work directory: what somebody else wrote into it decides no byte of an image.

Whoever wrote it knows everything about it, but not the key of the user who builds from it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest

from otabuild.assembly.plan import PROFILES
from otabuild.assembly.proof import is_proven
from otabuild.assembly.stored import StoredContent
from otabuild.errors import InputError, OtabuildError, StateError
from otabuild.format.digest import Blob
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.rootfs.stream import read_entries, write_entries
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress
from otabuild.storage.files import hash_file
from otabuild.storage.seal import CACHE_KEY, SIZE, Seal, user_key
from tests.pipeline.signing_world import World

RECIPE = """\
recipe: 1
output: dist/v.zip
timestamp: 2025-12-31T00:00:00Z
rootfs:
  main: {source: {directory: rootfs}, base-image: "test:1", architecture: x86_64, owner: "0:0"}
  tar: {source: {tar: a.tar.gz}, base-image: "test:1", architecture: x86_64}
payloads: [{ecu: main, rootfs: main}, {ecu: sub, rootfs: tar}]
"""
OWN, OTHER = b"own" * 20, b"other" * 20
Alteration = Callable[[], object]


def owned_by_root(found: tarfile.TarInfo) -> tarfile.TarInfo:
    found.uid = found.gid = 0
    return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A built project with a tree and an archive; its work directory is also kept as `kept`, the artifact as `right`."""
    folder = tmp_path / "product"
    (folder / "rootfs/etc").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for number in range(6):
        Path(f"rootfs/etc/{number}").write_text(f"{number}\n" * 200)
    Path("rootfs/etc/short").write_text("short\n")
    Path("rootfs/etc/other").write_text("other\n")
    Path("rootfs/large").write_text("".join(f"{number}\n" for number in range(20_000)))
    with tarfile.open("a.tar.gz", "w:gz") as tar:
        tar.add("rootfs", ".", filter=owned_by_root)
    Path("v.yaml").write_text(RECIPE)
    world = World(folder, now=int(time.time()) + 1000, cache_key=OWN)
    Path("right").write_bytes(world.build())
    shutil.copytree("work", "kept", symlinks=True)
    return world


def build(world: World) -> bytes:
    """Build as after a restore: without the artifact."""
    world.artifact.unlink(missing_ok=True)
    return world.build()


def cached(statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect("work/cache/cache.sqlite3")) as database, database:
        return database.execute(statement, values).fetchall()


def setuid(path: Path) -> None:
    """Add a bit to the mode of each file in a list of entries, which stays a valid list."""
    with path.open("rb") as file:
        entries = list(read_entries(file))
    with path.open("wb") as file:
        write_entries(file, [entry._replace(mode=entry.mode | 0o4000) if entry.content else entry for entry in entries])


def forge_archives(seal: Seal) -> None:
    """Give the list of entries of the archive other modes."""
    folder = Path("work/archives")
    (entries,) = folder.rglob("*.entries")
    setuid(entries)
    known = {str(path.relative_to(folder)): hash_file(str(path)) for path in (entries, entries.parent / "state")}
    record = {"files": known, "seal": seal.of("archives", json.dumps(known, sort_keys=True)).hex()}
    (folder / "sealed.json").write_text(json.dumps(record))


def forge_made(seal: Seal) -> None:
    """Let each record name what another record of the same kind names."""
    rows = cached("SELECT key, value FROM made")
    for (key, _), (_, value) in zip(rows, rows[1:] + rows[:1], strict=True):
        record = value[SIZE:]
        cached("UPDATE made SET value = ? WHERE key = ?", seal.of("made", key, record) + record, key)


def forge_tables(seal: Seal) -> None:
    """Let the record of each file table name a file table with other labels."""
    for key, value in cached("SELECT key, value FROM made"):
        if key.startswith(b"file table"):
            digest, size, labels = msgpack.unpackb(value[SIZE:])
            record = msgpack.packb([digest, size, {name: count + 1 for name, count in labels.items()}])
            cached("UPDATE made SET value = ? WHERE key = ?", seal.of("made", key, record) + record, key)


def forge_hashed(seal: Seal) -> None:
    """Let each short file have the content of another one."""
    rows = cached("SELECT device, inode, size, mtime_ns, ctime_ns, digest, inline FROM hashed WHERE inline NOT NULL")
    assert len(rows) == 2
    for (*key, _, _), (*_, digest, inline) in zip(rows, rows[1:] + rows[:1], strict=True):
        statement = "UPDATE hashed SET digest = ?, inline = ?, seal = ? WHERE inode = ?"
        cached(statement, digest, inline, seal.of("hashed", tuple(key), digest, inline), key[1])


FORGERIES = {"archives": forge_archives, "made": forge_made, "tables": forge_tables, "hashed": forge_hashed}


@pytest.mark.parametrize("recipes", [True, False], ids=["all kept", "only cache and archives kept"])
@pytest.mark.parametrize("forged", FORGERIES)
def test_what_somebody_forged_decides_no_byte(world: World, forged: str, *, recipes: bool) -> None:
    if not recipes:
        shutil.rmtree("work/recipes")
    FORGERIES[forged](Seal(OTHER))
    Path("rootfs/etc/new").write_text("something to do\n")
    found = build(world)
    world.forget()
    assert found == build(world)


@pytest.mark.parametrize("forged", FORGERIES)
def test_the_forgeries_would_matter_if_they_were_sealed(world: World, forged: str) -> None:
    """With the right key each of them is believed: otherwise the test above would prove nothing."""
    shutil.rmtree("work/recipes")
    FORGERIES[forged](Seal(OWN))
    with suppress(OtabuildError, TypeError, ValueError):
        assert build(world) != Path("right").read_bytes()


def test_stamps_of_another_key_count_for_nothing(world: World) -> None:
    world.cache_key = OTHER
    assert build(world) == Path("right").read_bytes()
    assert world.built() == ["preflight", "scan", "scan", "store", "tables", "index", "build"]


def test_another_machine_compresses_nothing_again(world: World) -> None:
    """Its user has another key and no stamps count; what content proves is used."""
    world.cache_key = OTHER
    world.artifact.unlink()
    done = run_steps(build_steps(world.recipe, world.workspace), lambda: 0.0, lambda _text: None)
    counts = {step.name: step.counts for step in done}["store:v"]
    assert world.artifact.read_bytes() == Path("right").read_bytes()
    assert counts["blobs-compressed"] == 0
    assert counts["contents-reused"] > 0


def contents(cache: Cache) -> tuple[StoredContent, list[Blob]]:
    parts = [b"one" * 1000, b"two" * 1000]
    members = [Blob(cache.add(part).digest, len(part)) for part in parts]
    data = b"".join(parts)
    frame = cache.add(compress(data, 9))
    return StoredContent(cache.add(data), frame, (frame,)), members


@pytest.mark.parametrize(
    "change",
    [
        lambda stored, members: (stored, members[::-1]),
        lambda stored, members: (stored, members[:1]),
        lambda stored, members: (stored._replace(content=members[0]), members),
        lambda stored, members: (stored._replace(leaves=()), members),
        lambda stored, members: (stored._replace(leaves=stored.leaves * 2), members),
        lambda stored, members: (stored._replace(leaves=(members[0],)), members),
        lambda stored, members: (stored._replace(leaves=(Blob(bytes(32), stored.leaves[0].size),)), members),
        lambda stored, members: (stored._replace(leaves=(Blob(cast("bytes", "text"), 1),)), members),
        lambda stored, members: (stored._replace(compressed=None, leaves=(stored.content,)), members),
        lambda stored, members: (stored._replace(compressed=members[0]), members),
    ],
)
def test_content_proves_just_one_form(
    tmp_path: Path, change: Callable[[StoredContent, list[Blob]], tuple[StoredContent, list[Blob]]]
) -> None:
    with Cache(str(tmp_path)) as cache:
        stored, members = contents(cache)
        assert is_proven(stored, members, PROFILES["update"], cache)
        changed, wanted = change(stored, members)
        assert not is_proven(changed, wanted, PROFILES["update"], cache)


def alterations() -> Iterator[tuple[str, Alteration]]:
    """Yield one alteration after the other of every file, table and field of the work directory."""
    files = sorted(path for path in Path("work").rglob("*") if path.is_file() and path.name != "lock")
    for path in files:
        yield from bytes_of(path)
        for other in files:
            if other != path and other.suffix == path.suffix:
                yield f"{path} like {other}", partial(path.write_bytes, other.read_bytes())
        if path.suffix in {".stamp", ".json"}:
            yield from fields(path, json.loads(path.read_bytes()))
    for table in ("blobs", "made", "hashed"):
        yield from rows_of(table)


def bytes_of(path: Path) -> Iterator[tuple[str, Alteration]]:
    """Yield flipped bits, and what is left of a file after an accident."""
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 12)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        yield f"{path} byte {place}", partial(path.write_bytes, flipped)
    yield f"{path} cut", partial(path.write_bytes, data[: len(data) // 2])
    yield f"{path} empty", partial(path.write_bytes, b"")
    yield f"{path} gone", path.unlink


def rows_of(table: str) -> Iterator[tuple[str, Alteration]]:
    """Yield other values for each column of some rows: those of the row before, and senseless ones."""
    rows = cached(f"SELECT * FROM {table}")
    names = [row[1] for row in cached(f"PRAGMA table_info({table})")]
    assert rows
    for number, row in enumerate(rows[:12]):
        for column, name in enumerate(names):
            statement = f"UPDATE {table} SET {name} = ? WHERE {names[0]} = ? AND {names[1]} = ?"
            for value in {rows[number - 1][column], 1, b"", bytes(32), "text"} - {row[column]}:
                yield f"{table} {number} {name} {value!r}", partial(cached, statement, value, *row[:2])


def fields(path: Path, value: Any) -> Iterator[tuple[str, Alteration]]:
    """Yield a change of each value in a JSON document; the document stays JSON."""

    def walk(place: Any, keys: tuple[object, ...]) -> Iterator[tuple[str, Alteration]]:
        for key, found in list(place.items() if isinstance(place, dict) else enumerate(place)):
            if isinstance(found, dict | list):
                yield from walk(found, (*keys, key))
            for new in (None, 0, "text"):
                place[key] = new
                yield f"{path} {(*keys, key)} {new}", partial(path.write_text, json.dumps(value))
            place[key] = found

    yield from walk(value, ())


def alter(world: World, wanted: int | None) -> int:
    """Build after each alteration, or after a seeded sample; return the number of them."""
    right = Path("right").read_bytes()
    found = list(alterations())
    chosen = found if wanted is None else random.Random(13).sample(found, wanted)
    for number, (what, change) in enumerate(chosen):
        shutil.rmtree("work")
        shutil.copytree("kept", "work", symlinks=True)
        if number % 2 and not what.startswith("work/recipes"):
            shutil.rmtree("work/recipes")
        try:
            change()
            assert build(world) == right, what
        except (sqlite3.IntegrityError, OtabuildError):  # SQLite itself refuses some of these
            continue
    return len(chosen)


def test_a_sample_of_alterations(world: World) -> None:
    alter(world, 40)


@pytest.mark.sweep
def test_every_alteration(world: World) -> None:
    assert alter(world, None) >= 500


def test_a_key_is_made_once_and_only_for_its_user(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    key = user_key(environ)
    assert user_key(environ) == key
    path = tmp_path / "otabuild/cache.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert user_key({"HOME": str(tmp_path)}) != key
    assert user_key({**environ, CACHE_KEY: "s" * 32}) == b"s" * 32
    with pytest.raises(InputError, match=CACHE_KEY):
        user_key({**environ, CACHE_KEY: "short"})
    path.chmod(0o640)
    with pytest.raises(StateError, match="0640"):
        user_key(environ)
    path.chmod(0o600)
    path.write_bytes(key[:5])
    with pytest.raises(StateError, match="5 bytes"):
        user_key(environ)
    path.unlink()
    path.symlink_to(os.devnull)
    with pytest.raises(OtabuildError, match=r"cache\.key"):
        user_key(environ)
