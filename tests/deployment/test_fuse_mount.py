"""A payload as a directory: the kernel's own calls see what the file table says."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from otabuild.image.image import open_image
from tests.image import forge
from tests.image.forge import Mutation

pytestmark = pytest.mark.skipif(
    find_spec("mfusepy") is None
    or shutil.which("fusermount3") is None
    or not os.access("/dev/fuse", os.R_OK | os.W_OK),
    reason="needs the extra mount, FUSE (Debian: fuse3) and /dev/fuse",
)


def start(image: Path, directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "otabuild", "mount", str(image), "--ecu-id", "main", directory.name]
    return subprocess.Popen(command, cwd=directory.parent, stderr=subprocess.PIPE, text=True)


@contextmanager
def mounted(folder: Path, **mutations: Mutation) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    image = forge.forge(**mutations).artifact(folder / "image.zip")
    directory = folder / "mnt"
    directory.mkdir()
    running = start(image, directory)
    try:
        while not directory.is_mount():
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.02)
        yield directory, running
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(directory)], check=False, capture_output=True)
        running.wait(60)
        assert running.stderr
        running.stderr.close()


def test_everything_is_as_in_the_file_table(tmp_path: Path) -> None:
    with mounted(tmp_path) as (directory, _), open_image(tmp_path / "image.zip") as image:
        payload = image.payload("main")
        seen = {"/"}
        for folder, folders, files in os.walk(directory):
            seen |= {f"/{(Path(folder) / name).relative_to(directory)}" for name in (*folders, *files)}
        assert seen == {entry.path for entry in payload.entries()}
        for entry in payload.entries():
            path = directory / entry.path[1:]
            found = path.lstat()
            assert (found.st_mode, found.st_uid, found.st_gid) == (entry.mode, entry.uid, entry.gid)
            assert {name: os.getxattr(path, name, follow_symlinks=False) for name in entry.xattrs} == entry.xattrs
            if entry.target is not None:
                assert os.readlink(path) == entry.target
            if stat.S_ISREG(entry.mode):
                assert found.st_nlink == (entry.links_count or 1)
                with payload.open(entry.path) as content:
                    assert path.read_bytes() == content.read()


def test_nothing_can_be_changed(tmp_path: Path) -> None:
    with mounted(tmp_path) as (directory, _):
        with pytest.raises(OSError, match="Read-only") as caught:
            (directory / "etc/new").write_text("x")
        assert caught.value.errno == errno.EROFS
        with pytest.raises(FileNotFoundError):
            (directory / "none").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unmounts(tmp_path: Path, number: signal.Signals) -> None:
    with mounted(tmp_path) as (directory, running):
        running.send_signal(number)
        _, told = running.communicate(timeout=60)
        assert running.returncode == 0
        assert told.startswith("mnt: payload main/dev, read-only, signature NOT checked")
        assert not directory.is_mount()


def test_a_damaged_content_cannot_be_read(tmp_path: Path) -> None:
    blob = forge.sha256(forge.RANDOM)

    def damage(names: dict[str, bytes]) -> None:
        names[f"blobs/sha256/{blob.hex()}"] = bytes(len(forge.RANDOM))

    with mounted(tmp_path, blob_files=damage) as (directory, running):
        damaged = {
            path for path in directory.rglob("*") if path.is_file() and not path.is_symlink() and not _reads(path)
        }
        assert damaged
        assert (directory / "etc/a").read_bytes() == forge.MEMBERS[0]
        running.send_signal(signal.SIGINT)
        assert "error: " in running.communicate(timeout=60)[1]


def _reads(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno != errno.EIO
    return True


def test_where_nothing_can_be_mounted(tmp_path: Path) -> None:
    image = forge.forge().artifact(tmp_path / "image.zip")
    running = start(image, tmp_path / "none")
    assert "error: none: no such directory to mount on" in running.communicate(timeout=60)[1]
    assert running.returncode == 1
