"""Benchmarks of builds: cold, unchanged, of one changed file, of an archive; and their bytes."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, python_pass
from benchmarks.figures import MB, Figure, peak, ratio
from benchmarks.measure import Side, Usage
from benchmarks.project import Project

_QUICK = 5
"""The factor by which commands of less than a second are repeated more often."""
_RACY = 3
"""Seconds after which the times of a file reliably show whether it changed."""


def cold(bench: Bench) -> Iterator[Figure]:
    """Cold build against tar | zstd and mksquashfs."""
    bench.warm(bench.rootfs)
    project, tarball, squashfs = (
        bench.project("update", bench.rootfs),
        bench.work / "cold.tar.zst",
        bench.work / "cold.squashfs",
    )
    ours, tar, squash = bench.meter.compare(
        project.cold("otabuild, cold"), bench.tar_zstd(tarball), bench.mksquashfs(squashfs)
    )
    size, distinct = project.artifact.stat().st_size, _distinct_contents(bench.rootfs)
    yield ratio("cold build / tar|zstd: wall", ours.wall, tar.wall, 1.25)
    yield ratio("cold build / tar|zstd: CPU", ours.cpu, tar.cpu)
    yield ratio("cold build / mksquashfs: wall", ours.wall, squash.wall)
    yield ratio("cold build / mksquashfs: CPU", ours.cpu, squash.cpu)
    yield ratio("cold build: CPU / wall", ours.cpu, ours.wall, 1.7, bound=">=")
    yield peak("cold build: peak memory", ours, 300)
    yield peak("tar|zstd: peak memory", tar)
    yield peak("mksquashfs: peak memory", squash)
    yield ratio("size / tar.zst", size / MB, tarball.stat().st_size / MB, 1.12, unit="MB")
    yield ratio("size / squashfs", size / MB, squashfs.stat().st_size / MB, unit="MB")
    yield ratio("blobs / distinct contents", project.blobs(), distinct, 0.43, unit="")


def size(bench: Bench) -> Iterator[Figure]:
    """The profile `size`: its size, and its cost in time."""
    bench.warm(bench.rootfs)
    project, tarball = bench.project("size", bench.rootfs, "size"), bench.work / "cold.tar.zst"
    ours, tar = bench.meter.compare(project.cold("otabuild, cold, size"), bench.tar_zstd(tarball))
    stored, packed = project.artifact.stat().st_size / MB, tarball.stat().st_size / MB
    yield ratio("profile size: size / tar.zst", stored, packed, 1.03, unit="MB")
    yield ratio("profile size: cold build / tar|zstd, wall", ours.wall, tar.wall, 2)
    yield peak("profile size: peak memory", ours, 300)


def unchanged(bench: Bench) -> Iterator[Figure]:
    """A second build without changes, and the part of the import in it."""
    yield from nothing_changed(bench, bench.built, "nothing changed", 0.9)
    imported = Side("import otabuild", [sys.executable, "-c", "import otabuild"], bench.work)
    ours, nothing = bench.meter.compare(imported, python_pass(bench), times=_QUICK)
    yield _more("import otabuild: wall, over python -c pass", ours, nothing, 0.06)


def nothing_changed(bench: Bench, project: Project, name: str, target: float) -> Iterator[Figure]:
    """A build with nothing to do, compared with the start of the interpreter; target in seconds."""
    ours, nothing = bench.meter.compare(
        project.again("otabuild, nothing changed"), python_pass(bench), times=_QUICK
    )
    yield _more(f"{name}: wall, over python -c pass", ours, nothing, target)
    yield Figure(f"{name}: CPU", ours.cpu, "s")
    yield Figure(f"{name}: files-hashed", project.report()["files-hashed"], target=0)


def one_file(bench: Bench) -> Iterator[Figure]:
    """One changed file of 4 KiB, compared with the cold build of the same tree."""
    tree = bench.copy_of_rootfs("changing")
    project, changing = bench.project("one-file", tree), tree / "changing-file"
    _write_noise(changing)
    time.sleep(_RACY)
    changed = project.again("otabuild, one file changed").but(
        prepare=lambda: _write_noise(changing)
    )
    whole, ours = bench.meter.compare(project.cold("otabuild, cold, copied tree"), changed)
    totals = project.report()
    yield ratio("one 4 KiB file changed / cold build: wall", ours.wall, whole.wall, 0.15)
    yield Figure("one file changed: files-hashed", totals["files-hashed"], target=1)
    yield Figure("one file changed: blobs compressed", totals["blobs-compressed"], target=1)
    yield Figure("one file changed: bytes compressed", totals["bytes-compressed"])
    yield peak("one file changed: peak memory", ours, 300)


def archive(bench: Bench) -> Iterator[Figure]:
    """The cold build from a tar.zst, compared with the one from the directory of the same tree."""
    bench.warm(bench.rootfs)
    directory = bench.project("update", bench.rootfs)
    packed = Project(bench.work / "archive", {"tar": str(bench.tarball)})
    ours, plain = bench.meter.compare(
        packed.cold("otabuild, cold, from tar.zst"),
        directory.cold("otabuild, cold, from directory"),
    )
    yield ratio("cold build from tar.zst / from directory: wall", ours.wall, plain.wall, 1.3)
    yield peak("from tar.zst: peak memory", ours, 300)
    yield from nothing_changed(bench, packed, "from tar.zst, nothing changed", 0.9)
    yield Figure(
        "artifacts of both that differ",
        len({_sha256(p.artifact) for p in (packed, directory)}) - 1,
        target=0,
    )


def same_bytes(bench: Bench) -> Iterator[Figure]:
    """How many artifacts of cold builds differ: under other conditions, and of a copy."""
    first = bench.built
    wanted = _sha256(first.artifact)
    copied = bench.project("copied", bench.copy_of_rootfs("copy"))
    elsewhere = {
        "TZ": "Asia/Kathmandu",
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "C",
        "HOME": str(bench.work),
        "PYTHONHASHSEED": "7",
    }
    for name, project, environ, python in (
        ("1 worker", first, {"OTABUILD_JOBS": "1"}, sys.executable),
        ("4 workers", first, {"OTABUILD_JOBS": "4"}, sys.executable),
        ("other time zone, language, home, hash seed", first, elsewhere, sys.executable),
        ("a copy of the tree, in another folder", copied, {}, sys.executable),
        *((f"built by {python}", first, {}, python) for python in bench.pythons),
    ):
        bench.meter.run(project.cold(name, python).but(environ=environ))
        yield Figure(
            f"other bytes with: {name}", int(_sha256(project.artifact) != wanted), target=0
        )


def _more(name: str, ours: Usage, theirs: Usage, target: float) -> Figure:
    return Figure(
        name, ours.wall - theirs.wall, "s", target, source=f"{ours.wall:.3f} - {theirs.wall:.3f} s"
    )


def _write_noise(path: Path) -> None:
    path.write_bytes(random.randbytes(4096))


def _distinct_contents(tree: Path) -> int:
    """Count the distinct contents of the regular files of a tree."""
    found: set[str] = set()
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if not os.path.ismount(os.path.join(folder, name))]
        paths = (Path(folder, name) for name in names)
        found.update(_sha256(path) for path in paths if path.is_file() and not path.is_symlink())
    return len(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
