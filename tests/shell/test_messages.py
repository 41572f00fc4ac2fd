"""What commands say: the words a person reads when something is wrong, or right. Run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild import progress
from otabuild.cli import main
from tests.shell.projects import Ended, Project, make_project

Run = Callable[..., Ended]
IMAGE = "dist/vehicle.zip"
CA = ("--ca", "pki/root-ca.pem")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was built, for tests that change nothing in it."""
    project = make_project(tmp_path_factory.mktemp("built") / "product")
    project.build()
    return project


@pytest.fixture
def run(built: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the project."""
    monkeypatch.chdir(built.root)
    monkeypatch.setattr(progress, "_quiet", False)

    def call(*arguments: str | Path) -> Ended:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        return Ended(code, *capsys.readouterr())

    return call


def test_an_image_that_is_cut_off(run: Run, built: Project, tmp_path: Path) -> None:
    image = tmp_path / "cut.zip"
    image.write_bytes(built.artifact.read_bytes()[:-1000])
    done = run("verify", image, *CA)
    assert done.code == 1
    assert f"error: {image}: not a complete OTA image: the ZIP's end record is missing" in done.err
    assert f"observed {image.stat().st_size} bytes" in done.err
    assert "hint: the file is probably truncated; download it again and compare its SHA-256" in done.err


def test_what_is_no_image_is_named(run: Run, tmp_path: Path) -> None:
    text, folder = tmp_path / "text.zip", tmp_path / "folder"
    text.write_text("no image")
    folder.mkdir()
    assert f"error: {text}: not an OTA image: it does not begin as a ZIP" in run("list-image", text).err
    assert f"error: {folder}: not an OTA image: blobs/sha256 is missing" in run("list-image", folder).err
    (folder / "blobs/sha256").mkdir(parents=True)
    assert f"error: {folder}: not an OTA image: index.json is missing" in run("list-image", folder).err


def test_a_recipe_where_an_image_is_due_and_an_image_where_a_recipe_is(run: Run) -> None:
    assert "hint: this is a recipe; build it first" in run("verify", "recipes/vehicle.yaml", *CA).err
    done = run("build", IMAGE)
    assert (done.code, done.err) == (
        1,
        f"error: {IMAGE}: not a recipe\n  hint: this is an image; did you mean `otabuild verify`?\n",
    )


def test_a_recipe_that_is_not_there(run: Run) -> None:
    done = run("build", "recipes/vehicel.yaml")
    assert (done.code, done.err) == (
        1,
        "error: recipes/vehicel.yaml: no such file\n  hint: did you mean `vehicle.yaml`?\n",
    )
    assert run("build", "nowhere").err == "error: nowhere: no such file\n"
