"""Threats D and J9: where a tree is deployed to, what is refused in advance, and that failures leave nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from otabuild.deployment.deploy import deploy
from otabuild.errors import IntegrityError, OtabuildError, StateError, TrustError
from otabuild.image.image import open_image
from otabuild.storage import fs
from tests import pki
from tests.image import forge, worlds

pytestmark = [pytest.mark.root, pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return forge.forge().directory(tmp_path / "image")


@pytest.mark.parametrize("kind", ["file", "folder", "full-folder", "symlink", "dangling", "inside", "no-parent"])
def test_d3_target_that_cannot_be_is_refused(kind: str, image: Path, tmp_path: Path) -> None:
    target = tmp_path / "tree"
    if kind == "file":
        target.write_text("mine")
    elif "folder" in kind:
        target.mkdir()
    elif kind in ("symlink", "dangling"):
        target.symlink_to(tmp_path if kind == "symlink" else "nowhere")
    if kind == "full-folder":
        (target / "mine").write_text("mine")
    if kind == "inside":
        target = image / "blobs" / "tree"
    elif kind == "no-parent":
        target = tmp_path / "no" / "tree"
    before = worlds.describe(tmp_path)
    with pytest.raises(StateError):
        worlds.deployed(image, target)
    assert worlds.describe(tmp_path) == before


@pytest.mark.parametrize("name", ["", "/", ".", "..", "new/..", "new/.", "./"])
def test_d3_target_without_a_name_is_refused(
    name: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "new").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    before = worlds.describe(tmp_path)
    with pytest.raises(StateError, match="does not name a directory to make"), open_image(image) as opened:
        deploy(opened.payload("main"), name, forge.policy(), pki.NOW)
    assert worlds.describe(tmp_path) == before


def test_d3_target_behind_a_symlink_is_where_the_kernel_finds_it(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "else" / "folder").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to("../else/folder")
    monkeypatch.chdir(tmp_path)
    with open_image(image) as opened:
        deploy(opened.payload("main"), "here/link/../tree/", forge.policy(), pki.NOW)
        deploy(opened.payload("main"), "bare", forge.policy(), pki.NOW)
    assert worlds.describe(tmp_path / "else" / "tree") == worlds.expected_tree()
    assert worlds.describe(tmp_path / "bare") == worlds.expected_tree()
    assert os.listdir(tmp_path / "here") == ["link"]


def test_d4_any_failing_change_leaves_nothing(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sentinel").write_text("mine")
    seen: list[str] = []
    monkeypatch.setattr(fs, "observer", lambda _phase, operation, _path: seen.append(operation))
    worlds.deployed(image, tmp_path / "out" / "tree")
    shutil.rmtree(tmp_path / "out" / "tree")
    before = worlds.describe(tmp_path)
    for stop_at in range(0, len(seen) // 2, 7):
        left = stop_at

        def observe(phase: str, operation: str, _: str) -> None:
            nonlocal left
            if phase == "before" and operation != "remove":
                left -= 1
                if left == -1:
                    raise fs.storage_error(OSError(28, "No space left on device"), operation, "here")

        monkeypatch.setattr(fs, "observer", observe)
        try:
            worlds.deployed(image, tmp_path / "out" / "tree")
        except OtabuildError:
            assert worlds.describe(tmp_path) == before
        else:
            shutil.rmtree(tmp_path / "out" / "tree")


def test_d5_setgid_parent_and_default_acl_are_not_inherited(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 0, 1234)
    out.chmod(0o2777)
    assert worlds.deployed(image, out / "tree") == worlds.expected_tree()


def test_s2_deploy_without_trust_is_refused_unless_told(image: Path, tmp_path: Path) -> None:
    with open_image(image) as opened:
        payload = opened.payload("main")
        with pytest.raises(TrustError):
            deploy(payload, tmp_path / "tree", None, pki.NOW)
        deploy(payload, tmp_path / "tree", None, pki.NOW, insecure_no_verify=True)
    assert worlds.describe(tmp_path / "tree") == worlds.expected_tree()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_j9_folder_that_is_a_symlink_is_refused(name: str, image: Path, tmp_path: Path) -> None:
    (image / name).rename(tmp_path / "moved")
    (image / name).symlink_to(tmp_path / "moved")
    with pytest.raises(IntegrityError):
        open_image(image)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
def test_j9_blob_that_is_no_file_is_found(kind: str, image: Path, tmp_path: Path) -> None:
    blob = image / "blobs" / "sha256" / forge.sha256(forge.RANDOM).hex()
    blob.rename(tmp_path / "moved")
    if kind == "symlink":
        blob.symlink_to(tmp_path / "moved")
    elif kind == "fifo":
        os.mkfifo(blob)
    else:
        blob.mkdir()
    assert {"container.place", "content"} <= worlds.errors_of(image)


@pytest.mark.parametrize("name", ["extra", "blobs/extra", "blobs/sha256/abc", "blobs/sha256/" + "A" * 64])
def test_j9_file_of_no_place_is_found(name: str, image: Path) -> None:
    (image / name).write_text("x")
    assert worlds.errors_of(image) == {"container.place"}
