"""Shared parts of all benchmarks: trees, tar, artifact, and commands of the compared tools."""

from __future__ import annotations

import functools
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Meter, Side
from benchmarks.project import WORKERS, Project


@dataclass(frozen=True)
class Bench:
    """One run of benchmarks.

    Attributes:
        work: a folder for everything that the benchmarks make.
        rootfs: the tree to build; it is never changed.
        second: the same tree after an update.
        entries: the numbers of entries of the synthetic trees, the smallest first.
        pythons: interpreters with otabuild, to compare the bytes that they build.
        meter: runs and measures the commands.
    """

    work: Path
    rootfs: Path
    second: Path | None
    entries: tuple[int, ...]
    pythons: tuple[str, ...]
    meter: Meter

    def project(self, name: str, source: Path, profile: str = "update") -> Project:
        """Return the project of a directory."""
        return Project(self.work / name, {"directory": str(source)}, profile)

    @functools.cached_property
    def built(self) -> Project:
        """Return the project of the rootfs, with its artifact built."""
        return self._made("update", self.rootfs)

    @functools.cached_property
    def built_second(self) -> Project:
        """Return the project of the updated rootfs, with its artifact built."""
        if self.second is None:
            raise SystemExit("this benchmark needs --second")
        return self._made("second", self.second)

    def _made(self, name: str, source: Path) -> Project:
        self.warm(source)
        project = self.project(name, source)
        self.meter.run(project.again("build of what is to be read"))
        return project

    def warm(self, tree: Path) -> None:
        """Read a tree once, so that every side finds it in the page cache."""
        self.meter.run(
            Side("warm up", _pipe('tar -C "$1" -c . | cat > /dev/null', tree), self.work)
        )

    @functools.cached_property
    def tarball(self) -> Path:
        """Return the rootfs as tar.zst."""
        path = self.work / "rootfs.tar.zst"
        self.meter.run(self.tar_zstd(path))
        return path

    def tar_zstd(self, path: Path) -> Side:
        """`tar -c | zstd -9 -T2` of the rootfs, without the content of /dev, as in the recipe."""
        script = (
            'tar -C "$1" --xattrs --xattrs-include="*" --exclude="./dev/*" -c . | zstd '
            '-q -9 -T2 -o "$2"'
        )
        command = _pipe(script, self.rootfs, path)
        return Side(
            "tar -c | zstd -9 -T2", command, self.work, lambda: path.unlink(missing_ok=True)
        )

    def mksquashfs(self, path: Path) -> Side:
        """`mksquashfs -comp zstd -Xcompression-level 9` of the rootfs."""
        options = [
            "-comp",
            "zstd",
            "-Xcompression-level",
            "9",
            "-no-progress",
            "-quiet",
            "-processors",
            WORKERS,
        ]
        return Side(
            "mksquashfs",
            ["mksquashfs", self.rootfs, path, *options],
            self.work,
            lambda: path.unlink(missing_ok=True),
        )

    def untar(self, tarball: Path, folder: Path) -> Side:
        """`zstd -dc | tar -x` into a fresh folder."""
        command = _pipe('zstd -dc "$1" | tar -C "$2" -x', tarball, folder)
        return Side("zstd -dc | tar -x", command, self.work, lambda: fresh(folder))

    def copy_of_rootfs(self, name: str) -> Path:
        """Return a copy of the rootfs that may be changed."""
        copy = self.work / name
        shutil.rmtree(copy, ignore_errors=True)
        self.meter.run(Side("cp -a", ["cp", "-a", "--reflink=auto", self.rootfs, copy], self.work))
        return copy


def python_pass(bench: Bench) -> Side:
    """Measure the start of an interpreter that does nothing."""
    return Side("python -c pass", [sys.executable, "-c", "pass"], bench.work)


def fresh(folder: Path) -> None:
    """Make an empty folder, replacing an existing one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _pipe(script: str, *arguments: Path) -> list[str | Path]:
    """Return a pipe of commands that fails if one of them fails."""
    return ["bash", "-o", "pipefail", "-c", script, "pipe", *arguments]
