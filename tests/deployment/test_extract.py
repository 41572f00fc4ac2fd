"""Extraction: a folder of a payload as an unprivileged user may have it, complete and with every byte checked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from otabuild.deployment.extract import Extracted, extract
from otabuild.errors import InputError, OtabuildError, StateError
from otabuild.image.image import open_image
from tests.image import forge, worlds


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return forge.forge().directory(tmp_path / "image")


def extracted(image: Path, path: str, target: Path) -> Extracted:
    with open_image(image) as opened:
        return extract(opened.payload("main"), path, target)


def expected(below: str) -> dict[str, dict[str, object]]:
    """Return what a folder of the good image looks like when it is extracted."""
    found: dict[str, dict[str, object]] = {}
    for path, facts in worlds.expected_tree().items():
        inside = "/" if path == below else path.removeprefix(below.rstrip("/"))
        if f"{path}/".startswith(below.rstrip("/") + "/") and "device" not in facts:
            mode = facts["mode"] & ~0o7000
            links = [link.removeprefix(below.rstrip("/")) for link in facts.get("links", ()) if link.startswith(below)]
            found[inside] = {**facts, "mode": mode, "owner": (os.geteuid(), os.getegid()), "xattrs": {}}
            if links:
                found[inside]["links"] = links
    return found


@pytest.mark.parametrize("path", ["/", "/etc", "/bin", "/etc/", "//etc/."])
def test_a_folder_becomes_a_tree_without_what_needs_privileges(path: str, image: Path, tmp_path: Path) -> None:
    found = extracted(image, path, tmp_path / "tree")
    folder = os.path.normpath("/" + path.lstrip("/"))
    assert worlds.describe(tmp_path / "tree") == expected(folder)
    sizes = {status.st_ino: status.st_size for status in _files(tmp_path / "tree")}
    assert found == Extracted(str(tmp_path / "tree"), "main/dev", folder, sum(sizes.values()))
    assert found.to_value()["content-size"] == sum(sizes.values())


def _files(folder: Path) -> list[os.stat_result]:
    return [status for path in folder.rglob("*") if stat.S_ISREG((status := path.lstat()).st_mode)]


def test_a_link_to_a_folder_leads_there(image: Path, tmp_path: Path) -> None:
    assert extracted(image, "/l1", tmp_path / "tree").path == "/etc"
    assert (tmp_path / "tree/motd").exists()


def test_a_program_of_root_is_not_one_of_the_caller(image: Path, tmp_path: Path) -> None:
    extracted(image, "/bin", tmp_path / "tree")
    assert stat.S_IMODE((tmp_path / "tree/tool").stat().st_mode) == 0o755


@pytest.mark.parametrize(("path", "said"), [("/etc/motd", "not a directory"), ("/none", "no such path")])
def test_what_is_no_folder_is_refused(path: str, said: str, image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        extracted(image, path, tmp_path / "tree")
    assert os.listdir(tmp_path) == ["image"]


def test_a_target_that_exists_is_kept(image: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(StateError, match="already exists"):
        extracted(image, "/etc", tmp_path / "tree")
    assert os.listdir(tmp_path / "tree") == []


def test_damage_leaves_nothing(image: Path, tmp_path: Path) -> None:
    blob = image / "blobs/sha256" / forge.sha256(forge.RANDOM).hex()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(OtabuildError):
        extracted(image, "/bin", tmp_path / "tree")
    assert os.listdir(tmp_path) == ["image"]
    extracted(image, "/etc", tmp_path / "tree")  # which has no damaged content
