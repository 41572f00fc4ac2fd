"""The project is found from each of its folders; what is not there is told with what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.shell.projects import WORK, Project

BELOW = ["recipes", "rootfs/etc"]


def recipe_from(below: str) -> str:
    return f"{'../' * len(below.split('/'))}recipes/vehicle.yaml"


@pytest.mark.parametrize("below", BELOW)
def test_a_build_below_the_root_uses_the_work_directory_of_the_project(project: Project, below: str) -> None:
    (project.root / below).mkdir(exist_ok=True, parents=True)
    assert project.otabuild("build", recipe_from(below), cwd=below).code == 0
    assert (project.root / WORK).is_dir()
    assert not (project.root / below / "build").exists()
    first = project.sha256
    assert project.otabuild("build", "recipes/vehicle.yaml").code == 0
    assert project.sha256 == first


def test_other_commands_below_the_root(project: Project) -> None:
    assert project.otabuild("build", "recipes/vehicle.yaml").code == 0
    shown = project.otabuild("cache", "show", "--json", cwd="recipes")
    assert json.loads(shown.out)["blobs"] > 0
    assert project.otabuild("plan", "vehicle.yaml", cwd="recipes").code == 0
    verified = project.otabuild("verify", "../dist/vehicle.zip", "--ca", "../pki/root-ca.pem", cwd="recipes")
    assert verified.code == 0
    assert verified.out.startswith("../dist/vehicle.zip: verified")
    assert project.otabuild("init", "new.yaml", cwd="recipes").code == 0
    assert not (project.root / "recipes/build").exists()
    assert not (project.root / "recipes/dodo.py").exists()


def test_settings_are_those_of_the_project(project: Project) -> None:
    (project.root / "pyproject.toml").write_text('[tool.otabuild]\nwork = "kept"\n')
    assert project.otabuild("build", "vehicle.yaml", cwd="recipes").code == 0
    assert (project.root / "kept/cache").is_dir()


def test_the_search_ends_with_the_repository(project: Project) -> None:
    (project.root / "recipes/.git").mkdir()
    assert project.otabuild("build", "vehicle.yaml", cwd="recipes", SOURCE_DATE_EPOCH="1").code in (0, 1)
    assert (project.root / "recipes" / WORK).is_dir()


def test_no_folder_of_recipes(project: Project) -> None:
    shutil.rmtree(project.root / "recipes")
    said = project.doit("build")
    assert said.code != 0
    assert "recipes: there is no folder of recipes" in said.err + said.out
    for command in ("build", "plan", "lint"):
        said = project.otabuild(command, "recipes/vehicle.yaml")
        assert said.code == 1
        assert "`otabuild init` writes a first recipe" in said.err
