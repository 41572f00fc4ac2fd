"""A folder is replaced where two folders cannot be exchanged; a kill at any change loses neither the old nor the new."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.storage import fs, fs_at
from otabuild.storage.directory_writer import is_image_directory, remove_directory
from tests.storage.small_images import blob, write

Fresh = Callable[[], Path]


@pytest.fixture(params=["lower layer", "no exchange"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fresh]:
    """Yield what makes a folder with an old image, where nothing can be exchanged; call it as often as you like."""
    with ExitStack() as stack:
        if request.param == "no exchange":  # such as many a FUSE file system
            monkeypatch.setattr(fs_at, "exchange", lambda *_: False)
        else:
            mount(["-t", "tmpfs", "tmpfs", str(tmp_path)])
            stack.callback(unmount, tmp_path)
        numbers = itertools.count(1)

        def make() -> Path:
            folder = tmp_path / str(next(numbers))
            layers = [folder / name for name in ("lower", "upper", "work")]
            for path in (*layers, folder / "merged"):
                path.mkdir(parents=True)
            if request.param == "no exchange":
                write(folder / "merged/image", "old")
                return folder / "merged"
            write(folder / "lower/image", "old")
            options = "lowerdir={},upperdir={},workdir={}".format(*layers)
            mount(["-t", "overlay", "overlay", "-o", options, str(folder / "merged")])
            stack.callback(unmount, folder / "merged")
            return folder / "merged"

        yield make


def mount(arguments: list[str]) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr}")


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", path], check=True)


def killed_at(number: int, image: Path) -> bool:
    """Write an image in a child that ends at its n-th sight of a change, as SIGKILL does; return whether there was one."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def observe(*_change: str) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                os._exit(9)

        fs.observer = observe
        try:
            write(image, "new")
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_the_new_takes_the_place_of_the_old(fresh: Fresh) -> None:
    folder = fresh()
    for content in ("new", "newer"):
        write(folder / "image", content)
        assert blob(folder / "image") == content
        assert os.listdir(folder) == ["image"]


def test_the_old_is_removed(fresh: Fresh) -> None:
    folder = fresh()
    remove_directory(str(folder / "image"))
    assert os.listdir(folder) == []


def test_a_kill_at_any_change_loses_nothing(fresh: Fresh) -> None:
    number, in_between, folder = 1, 0, fresh()
    while killed_at(number, folder / "image"):
        whole = {blob(path) for path in (folder / "image", folder / ".image.otabuild-new") if is_whole(path)}
        assert whole & {"old", "new"}, f"lost at {number}"
        in_between += not is_whole(folder / "image")
        write(folder / "image", "after")
        assert blob(folder / "image") == "after"
        assert os.listdir(folder) == ["image"]
        number, folder = number + 1, fresh()
    assert number > 30
    assert in_between


def is_whole(path: Path) -> bool:
    return is_image_directory(str(path)) and len(list(path.glob("blobs/sha256/*"))) == 1


def test_what_somebody_put_there_after_a_kill_stays(fresh: Fresh) -> None:
    number, folder = 1, fresh()
    while killed_at(number, folder / "image") and is_whole(folder / "image"):
        number, folder = number + 1, fresh()
    shutil.rmtree(folder / "image", ignore_errors=True)
    (folder / "image").mkdir()
    (folder / "image/precious").touch()
    with pytest.raises(InputError, match="not an OTA image"):
        write(folder / "image", "newer")
    assert (folder / "image/precious").exists()
    assert blob(folder / ".image.otabuild-new") == "new"
