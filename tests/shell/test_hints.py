"""What a message shows and advises leads to the cause."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otabuild.format.sizes import human_size
from otabuild.storage.fs import disk_of, storage_error
from tests.shell.projects import Project


def refused(project: Project, *parts: str) -> None:
    done = project.otabuild("check", "recipes/vehicle.yaml")
    assert done.code == 1
    assert [part for part in parts if part not in done.err] == [], done.err


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("certificate: ../pki/sign.pem", "certificate: ../pki/sign.key", "a private key"),
        ("key: {file: ../pki/sign.key}", "key: {file: ../pki/sign.pem}", "a certificate"),
        ("trust: [../pki/root-ca.pem]", "trust: [../pki/root-ca.key]", "a private key"),
    ],
)
def test_a_pem_of_the_wrong_kind(project: Project, key: str, value: str, kind: str) -> None:
    project.edit(key, value)
    refused(project, f"(observed {kind})", "hint: name ")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("directory: ../rootfs", "gone"),
        ("certificate: ../pki/sign.pem", "gone.pem"),
        ("trust: [../pki/root-ca.pem", "ca"),
    ],
)
def test_a_link_that_leads_nowhere(project: Project, key: str, name: str) -> None:
    (project.root / name).symlink_to("/nowhere/at/all")
    project.edit(key, f"{key[: key.index('../')]}../{name}")
    refused(project, f"(observed {name}, a link to /nowhere/at/all, which does not exist)")


@pytest.mark.parametrize(
    ("folder", "said"),
    [("overlay", "no such file or folder (observed overlay)"), ("dodo.py", "open the overlay directory")],
)
def test_an_overlay(project: Project, folder: str, said: str) -> None:
    project.edit("    base-image:", f"    overlay: [{{directory: ../{folder}}}]\n    base-image:")
    refused(project, "rootfs.main.overlay[0].directory", said)


def test_a_folder_of_recipes_is_no_recipe(project: Project) -> None:
    done = project.otabuild("build", "recipes")
    assert (done.code, "name a recipe in it; `doit build` builds every recipe" in done.err) == (1, True), done.err


@pytest.mark.parametrize("runner", ["doit", "otabuild"])
def test_no_folder_of_recipes(project: Project, runner: str) -> None:
    os.rename(project.root / "recipes", project.root / "elsewhere")
    done = project.doit("build") if runner == "doit" else project.otabuild("build", "recipes/vehicle.yaml")
    assert (done.code != 0, "`otabuild init` writes a first recipe" in done.err) == (True, True), done.err


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "not/there/yet")
    assert os.path.ismount(disk)
    assert os.stat(disk).st_dev == tmp_path.stat().st_dev
    for number in (28, 122):  # ENOSPC, EDQUOT
        error = storage_error(OSError(number, "full"), "write", tmp_path / "not/there/yet")
        assert f"on the disk of {disk}, or point the work directory elsewhere" in error.hint


@pytest.mark.parametrize("target", ["dist/vehicle.zip", "dist/image"])
def test_every_command_speaks_of_the_same_size(project: Project, target: str) -> None:
    project.edit("output: ../dist/vehicle.zip", "output: ../dist/vehicle.zip\noutput-dir: ../dist/image")
    project.build()
    files = [project.root / target, *(project.root / target).rglob("*")]
    size = human_size(sum(file.stat().st_size for file in files if file.is_file()))
    assert f": verified ({size}, 1 payload, " in project.otabuild("verify", target, "--ca", "pki/root-ca.pem").out
    assert f"signed {'artifact' if target.endswith('.zip') else 'directory'}, {size}\n" in (
        project.otabuild("list-image", target).out
    )
    if target.endswith(".zip"):
        assert f"{target}  {size}  sha256:" in project.otabuild("build", "recipes/vehicle.yaml").out
