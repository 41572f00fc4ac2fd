"""A signal during a clean-up waits until the clean-up is complete, even if several arrive."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from otabuild.deployment.deploy import deploy
from otabuild.errors import StateError, StorageError
from otabuild.image.image import open_image
from otabuild.rootfs.spool import Spool
from otabuild.storage import fs, fs_at, publishing
from tests import pki
from tests.image import forge
from tests.storage.small_images import blob, write


@pytest.fixture(autouse=True)
def _nobody_watches() -> Iterator[None]:
    yield
    fs.observer = None


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_and_fail() -> None:
    interrupt()
    raise StorageError("no")


def interrupted_from(first: int, act: Callable[[], None]) -> int:
    """Interrupt it at a change (from 1) and at each later one; return the number of changes."""
    seen = 0

    def observe(*_change: str) -> None:
        nonlocal seen
        seen += 1
        # A signal that another thread sends would reach the main thread anywhere, even in the middle of a finalizer.
        if seen >= first and threading.current_thread() is threading.main_thread():
            interrupt()

    fs.observer = observe
    try:
        if first == 1 << 30:
            act()
        else:
            with pytest.raises(KeyboardInterrupt):
                act()
    finally:
        fs.observer = None
    return seen


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*otabuild-tmp*")]


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    done, before = [], signal.getsignal(signal.SIGINT)

    def act() -> None:
        with fs.undisturbed(), fs.undisturbed():
            interrupt()
            interrupt()
            done.append(1)
        done.append(2)

    with pytest.raises(KeyboardInterrupt):
        act()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_waits_where_the_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt), fs.undisturbed():
        interrupt_and_fail()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with fs.undisturbed():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_that_gets_no_signals_needs_nothing() -> None:
    done = []

    def act() -> None:
        with fs.undisturbed():
            done.append(1)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert done == [1]


def test_an_image_directory_at_every_change(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, "old")
    total = interrupted_from(1 << 30, lambda: write(image, "old"))
    assert total > 20
    for first in range(1, total + 1):
        content = f"new {first}"
        before = blob(image)
        interrupted_from(first, lambda content=content: write(image, content))  # type: ignore[misc]
        assert leftovers(tmp_path) == []
        assert blob(image) in {before, content}


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_that_is_replaced(tmp_path: Path, *, fails: bool) -> None:
    path = str(tmp_path / "file")

    def act() -> None:
        with suppress(StorageError), publishing.replacing(path) as fd:
            fs.write(fd, b"new", path)
            if fails:
                raise StorageError("no space")

    total = interrupted_from(1 << 30, act)
    for first in range(1, total + 1):
        interrupted_from(first, act)
        assert leftovers(tmp_path) == []


def test_a_deployment(tmp_path: Path) -> None:
    artifact = forge.forge().artifact(tmp_path / "image.zip")

    def act() -> None:
        shutil.rmtree(tmp_path / "tree", ignore_errors=True)
        with open_image(artifact) as image:
            deploy(image.payload("main"), tmp_path / "tree", forge.policy(), pki.NOW, no_owner=True)

    total = interrupted_from(1 << 30, act)
    assert total > 50
    for first in range(1, total + 1, 7):
        interrupted_from(first, act)
        assert leftovers(tmp_path) == []


def test_a_folder_that_others_may_have_put_in_the_way_of_a_deployment(tmp_path: Path) -> None:
    artifact = forge.forge().artifact(tmp_path / "image.zip")
    (tmp_path / ".tree.otabuild-tmp/precious").mkdir(parents=True)
    tmp_path.chmod(0o777)
    with open_image(artifact) as image, pytest.raises(StateError, match="others may write"):
        deploy(image.payload("main"), tmp_path / "tree", forge.policy(), pki.NOW, no_owner=True)
    assert (tmp_path / ".tree.otabuild-tmp/precious").is_dir()


def test_a_spool(tmp_path: Path) -> None:
    def act() -> None:
        with Spool(str(tmp_path / "spool.otabuild-tmp")) as spool:
            spool.write(b"new")
            spool.keep(str(tmp_path / "spool"))

    total = interrupted_from(1 << 30, act)
    for first in range(5, total + 1):  # after it was made
        interrupted_from(first, act)
        assert leftovers(tmp_path) == []


def test_a_deployment_as_soon_as_its_folder_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = forge.forge().artifact(tmp_path / "image.zip")
    real = fs_at.make_folder

    def hit(*arguments: Any) -> None:
        real(*arguments)
        interrupt()

    monkeypatch.setattr(fs_at, "make_folder", hit)
    with open_image(artifact) as image, pytest.raises(KeyboardInterrupt):
        deploy(image.payload("main"), tmp_path / "tree", forge.policy(), pki.NOW, no_owner=True)
    assert leftovers(tmp_path) == []
