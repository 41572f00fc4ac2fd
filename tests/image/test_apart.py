"""Nothing that is made from an image replaces the image, or lands inside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild import cli
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import StateError
from otabuild.image.image import Image, open_image
from otabuild.image.inspect_blob import get_filetable, get_resourcetable, save_blob
from tests import pki
from tests.image import forge
from tests.shared import REFERENCE, has_fixtures


def _tar(image: Image, path: Path) -> None:
    deploy_tar(image.payload("main"), path, forge.policy(), pki.NOW)


WRITERS: dict[str, Callable[[Image, Path], object]] = {
    "tar": _tar,
    "file table": lambda image, path: get_filetable(image, image.payload("main"), path),
    "resource table": get_resourcetable,
    "blob": lambda image, path: save_blob(image, image.index.resource_table.digest_text, path),
}


def contents(path: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in (path, *path.rglob("*")) if each.is_file()}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_an_image_is_not_replaced_by_what_is_read_from_it(
    write: Callable[[Image, Path], object], tmp_path: Path
) -> None:
    artifact = forge.forge().artifact(tmp_path / "image.zip")
    directory = forge.forge().directory(tmp_path / "image")
    (tmp_path / "link").symlink_to("image.zip")
    (tmp_path / "folder").symlink_to("image")
    before = contents(tmp_path)
    for path, targets in {
        artifact: [artifact, tmp_path / "link"],
        directory: [
            directory / "index.json",
            directory / "new",
            directory / "blobs/sha256/new",
            tmp_path / "folder/new",
        ],
    }.items():
        for target in targets:
            with open_image(path) as image, pytest.raises(StateError, match="is inside the image"):
                write(image, target)
    assert contents(tmp_path) == before
    with open_image(artifact) as image:
        write(image, tmp_path / "image.zip.new")


@has_fixtures
@pytest.mark.parametrize(
    "command",
    [["report", "IMAGE", "-o"], ["otaclient-package", "IMAGE", "-o"], ["report", "OTHER", "--base", "IMAGE", "-o"]],
)
def test_commands_do_not_replace_an_image(command: list[str], tmp_path: Path) -> None:
    images = {"IMAGE": tmp_path / "image.zip", "OTHER": forge.forge().artifact(tmp_path / "other.zip")}
    images["IMAGE"].write_bytes(REFERENCE.read_bytes())
    before = contents(tmp_path)
    assert cli.main([str(images.get(word, word)) for word in [*command, "IMAGE"]]) == 1
    assert contents(tmp_path) == before
