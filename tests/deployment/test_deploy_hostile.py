"""Threats D2, D5, D7, D9, S18, F9: other processes that interfere, attributes, and many readers at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest

from otabuild.deployment.deploy import deploy
from otabuild.errors import MetaApplyError, OtabuildError, TableError
from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge, worlds


def on_root(test: Callable[..., None]) -> Callable[..., None]:
    for mark in worlds.needs_root:
        test = mark(test)
    return test


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Repeat an act in a separate thread while the block runs."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            with suppress(OSError):
                act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@on_root
def test_d2_folder_swapped_for_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    image = forge.forge().artifact(tmp_path / "image.zip")
    victim, out = tmp_path / "victim", tmp_path / "out"
    for folder in (victim, victim / "bin", victim / "etc", out):
        folder.mkdir()
    (victim / "etc" / "motd").write_text("mine")
    before = worlds.describe(victim)
    staged = out / ".tree.otabuild-tmp"

    def swap() -> None:
        for name in ("etc", "bin"):
            os.rename(staged / name, out / f"moved-{name}-{os.urandom(4).hex()}")
            os.symlink(victim / name, staged / name)

    with meanwhile(swap):
        for _ in range(30):
            with suppress(OtabuildError):
                worlds.deployed(image, out / "tree")
            for path in out.iterdir():
                shutil.rmtree(path, ignore_errors=True)
    assert worlds.describe(victim) == before


@on_root
@pytest.mark.parametrize("how", ["replaced", "overwritten"])
def test_s18_artifact_changed_between_verify_and_deploy(how: str, tmp_path: Path) -> None:
    path = forge.forge().artifact(tmp_path / "image.zip")
    (tmp_path / "out").mkdir()
    with open_image(path) as image:
        assert verify(image, forge.policy(), pki.NOW).ok
        if how == "replaced":
            (tmp_path / "other").write_bytes(b"another")
            os.replace(tmp_path / "other", path)
            deploy(image.payload("main"), tmp_path / "out" / "tree", forge.policy(), pki.NOW)
            assert worlds.describe(tmp_path / "out" / "tree") == worlds.expected_tree()
            return
        raw = path.read_bytes()
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), b"!", raw.index(forge.RANDOM) + 5)
        with pytest.raises(OtabuildError):
            deploy(image.payload("main"), tmp_path / "out" / "tree", forge.policy(), pki.NOW)
    assert os.listdir(tmp_path / "out") == []


@on_root
@pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not here")
def test_d5_default_acl_of_the_parent_is_not_inherited(tmp_path: Path) -> None:
    image = forge.forge().artifact(tmp_path / "image.zip")
    (tmp_path / "out").mkdir()
    acl: list[str | Path] = ["setfacl", "-d", "-m", "u:1234:rwx,g:1234:rwx", tmp_path / "out"]
    if subprocess.run(acl, check=False).returncode:
        pytest.skip("no access control lists here")
    assert worlds.deployed(image, tmp_path / "out" / "tree") == worlds.expected_tree()


_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
_INODES = {"file": 12, "directory": 2, "symlink": 4, "whiteout": 6}
_PATHS = {"file": "/etc/a", "directory": "/bin", "symlink": "/etc/link", "whiteout": "/etc/gone"}


@on_root
@pytest.mark.parametrize("kind", _INODES)
@pytest.mark.parametrize(
    ("name", "value"), [("user.x", b"1"), ("trusted.x", b"\0"), ("security.capability", _CAPABILITY)]
)
def test_d7_attribute_is_exact_or_refused_up_front(kind: str, name: str, value: bytes, tmp_path: Path) -> None:
    def mutate(rows: dict[str, list[tuple[Any, ...]]]) -> None:
        packed = msgpack.packb({name: value})
        rows["ft_inode"] = [(*row[:5], packed) if row[0] == _INODES[kind] else row for row in rows["ft_inode"]]

    image = forge.forge(file_table_rows=mutate).artifact(tmp_path / "image.zip")
    (tmp_path / "out").mkdir()
    try:
        tree = worlds.deployed(image, tmp_path / "out" / "tree")
    except (MetaApplyError, TableError):
        assert kind in ("symlink", "whiteout")
        assert os.listdir(tmp_path / "out") == []
    else:
        assert tree[_PATHS[kind]]["xattrs"] == {name: value}
        assert not (kind in ("symlink", "whiteout") and name == "user.x")


def test_f9_many_threads_want_contents_of_one_bundle(tmp_path: Path) -> None:
    barrier = threading.Barrier(32)
    found: list[bytes] = []
    with open_image(forge.forge().artifact(tmp_path / "image.zip")) as image:
        plans = []
        for member in forge.MEMBERS:
            row = image.resources.by_digest(forge.sha256(member))
            assert row is not None
            plans.append(image.resources.plan(row))

        def read(number: int) -> None:
            barrier.wait(10)
            found.append(b"".join(plans[number % 2].stream(image.blobs)))

        threads = [threading.Thread(target=read, args=(n,), daemon=True) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert sorted(found) == sorted(forge.MEMBERS * 16)
