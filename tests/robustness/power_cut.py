"""Run a world of the sweeper on a disk that forgets unsynced data, and examine it after every change.

    power_cut.py WORLD      in the folder of a project; prints JSON: how many changes, and what went wrong

There are two modes: the disk forgets everything since the last sync, or it forgets only the bytes of files, while names
reach the disk at once. A sync of a file system keeps everything; a sync of a folder keeps its names.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from otabuild.storage import fs
from tests.robustness.sweeper import WORLDS, World, fork

Listing = dict[str, int]
"""The names in a folder and their inode numbers."""


class Disk:
    """What would remain of a folder after a power cut; inodes by number."""

    def __init__(self, root: str) -> None:
        self.root = os.stat(root).st_ino
        self._path = root
        self.folders: dict[int, Listing] = {}
        self.files: dict[int, bytes] = {}
        self.sync_all()

    def sync_all(self) -> None:
        """Everything reaches the disk."""
        self.folders, self.files = {}, {}
        for folder, _, names in os.walk(self._path):
            self.sync_folder(folder)
            for name in names:
                path = os.path.join(folder, name)
                self.files[os.lstat(path).st_ino] = content(path)

    def sync_folder(self, path: str) -> None:
        """The names in a folder reach the disk."""
        self.folders[os.stat(path).st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}

    def lose_bytes(self, path: str) -> bytes:
        """Return a file whose name reached the disk at once, but whose bytes need a sync."""
        now = content(path)
        return now if self.files.get(os.lstat(path).st_ino) == now else b"lost"

    def listing(self, path: Path) -> int | None:
        """Return the inode of a path on the disk."""
        inode: int | None = self.root
        for name in path.parts:
            inode = None if inode is None else self.folders.get(inode, {}).get(name)
        return inode


def content(path: str) -> bytes:
    """Return the content of a file, or the target of a link."""
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode):
        return Path(path).read_bytes()
    return os.fsencode(os.readlink(path)) if stat.S_ISLNK(found.st_mode) else b""


def after_cut(disk: Disk, path: Path) -> str:
    """Return a digest of names and contents below a path after all unsynced data is lost."""

    def add(inode: int | None, name: str) -> None:
        if inode in disk.folders:
            for child, number in sorted(disk.folders[inode].items()):
                add(number, f"{name}/{child}")
        elif inode is not None:
            found.update(repr((name, disk.files.get(inode, b"lost"))).encode())

    found = hashlib.sha256()
    add(disk.listing(path), "")
    return found.hexdigest()


def after_cut_of_bytes(disk: Disk, path: Path) -> str:
    """Return the same if only bytes of files are lost."""

    def add(where: Path, name: str) -> None:
        if where.is_dir() and not where.is_symlink():
            for child in sorted(os.listdir(where)):
                add(where / child, f"{name}/{child}")
        elif os.path.lexists(where):
            found.update(repr((name, disk.lose_bytes(str(where)))).encode())

    found = hashlib.sha256()
    add(path, "")
    return found.hexdigest()


def run(world: World, report: str) -> Callable[[], None]:
    """Return what a child does: the work of the world on such a disk; it reports states neither old nor new."""

    def act() -> None:
        disk = Disk(".")
        good = {path: {after_cut(disk, path)} for path in world.outputs}
        wrong: set[str] = set()
        states: list[tuple[str, dict[Path, list[str]]]] = []

        def note(phase: str, operation: str, path: str) -> None:
            looks = {output: [look(disk, output) for look in (after_cut, after_cut_of_bytes)] for output in good}
            states.append((f"{phase} {operation} {path}", looks))

        def sync_folder(fd: int) -> None:
            disk.sync_folder(os.readlink(f"/proc/self/fd/{fd}"))

        def sync_all(_fd: int, path: fs.StrPath) -> None:
            with fs.change("sync", path):
                disk.sync_all()

        os.fsync, fs.sync_file_system = sync_folder, sync_all  # type: ignore[assignment]  # the disk of this test
        fs.observer = note
        with suppress(SystemExit):
            world.act()
        fs.observer = None
        last = {path: after_cut(disk, path) for path in good}
        disk.sync_all()
        for path, digests in good.items():
            if last[path] != after_cut(disk, path):
                wrong.add(f"a success, and {path} was lost")
            digests.add(after_cut(disk, path))
        for change, looks in states:
            wrong |= {f"{path} broken {change}" for path in good if not set(looks[path]) <= good[path]}
        Path(report).write_text(json.dumps({"changes": len(states), "wrong": sorted(wrong)}), encoding="utf-8")

    return act


def main() -> None:
    """See the module."""
    world = WORLDS[sys.argv[1]]()
    world.reset()
    assert fork(run(world, "../report.json")) == 0
    sys.stdout.write(Path("../report.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
