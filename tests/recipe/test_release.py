"""The otaclient release is checked before any work, and the message names the line of the recipe."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest

from otabuild.recipe.load import load_recipe
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import bad_release
from otabuild.recipe.surroundings import bad_surroundings
from tests.recipe import world

PACKAGE = "otaclient-x86_64.squashfs"
RECIPE = (pathlib.Path(world.HERE) / "good/smallest.yaml").read_text() + "otaclient-package:\n  release-dir: release\n"
PLACE = f"{RECIPE.count(chr(10))}:16: otaclient-package.release-dir: "


@pytest.fixture
def recipe(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / PACKAGE).write_bytes(b"squash")
    package = {"filename": PACKAGE, "version": "3", "type": "squashfs", "architecture": "x86_64", "size": 6}
    manifest = {"schema_version": "1", "date": "2026", "packages": [{**package, "checksum": f"sha256:{64 * '0'}"}]}
    (tmp_path / "release/manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe("recipe.yaml", world.IN_GIT)


def test_a_release_of_the_right_sizes(recipe: Recipe) -> None:
    assert bad_release(recipe) == []


def no_folder(release: pathlib.Path) -> None:
    (release / "manifest.json").unlink()
    (release / PACKAGE).unlink()
    release.rmdir()
    release.write_text("a file")


def link(release: pathlib.Path) -> None:
    (release / PACKAGE).rename(release / "elsewhere")
    (release / PACKAGE).symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda release: (release / PACKAGE).unlink(), f"release/{PACKAGE}: no such file"),
        (lambda release: (release / PACKAGE).write_bytes(b"squas"), "(observed 5 bytes, expected 6 bytes)"),
        (link, f"release/{PACKAGE}: not a regular file"),
        (lambda release: (release / "manifest.json").unlink(), "release/manifest.json: "),
        (lambda release: (release / "manifest.json").write_text("{"), "release/manifest.json"),
        (lambda release: (release / "manifest.json").write_text("{}"), "release/manifest.json"),
        (no_folder, "release/manifest.json: "),
    ],
)
def test_a_broken_release(recipe: Recipe, spoil: Callable[[pathlib.Path], object], said: str) -> None:
    spoil(pathlib.Path("release"))
    (problem,) = bad_release(recipe)
    assert problem.message.startswith(f"recipe.yaml:{PLACE}")
    assert said in problem.message


@pytest.mark.parametrize("key", ["source", "overlay"])
def test_a_directory_that_is_a_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "file.tar").write_text("x")
    source, overlay = ("file.tar", "tree") if key == "source" else ("tree", "file.tar")
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\noutput: x.zip\ntimestamp: 2026-01-01T00:00:00Z\nrootfs:\n  main:\n"
        f"    source: {{directory: {source}}}\n    overlay: [{{directory: {overlay}}}]\n"
        "    base-image: x\n    architecture: x86_64\npayloads: [{ecu: e, rootfs: main}]\n"
    )
    found = list(bad_surroundings(load_recipe("recipe.yaml", world.IN_GIT), world.NOW, lambda _rootfs: False))
    assert [problem.observed for problem in found] == ["Not a directory"]
    kind = "rootfs" if key == "source" else key
    assert f"{tmp_path}/file.tar: cannot open the {kind} directory" in found[0].message
    assert f"rootfs.main.{key}" in found[0].message
