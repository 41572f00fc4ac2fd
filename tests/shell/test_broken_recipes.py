"""An error in one recipe, or in dodo.py, is reported and does not stop anything else."""

from __future__ import annotations

import pytest

from tests.shell.projects import RECIPE, Project

BROKEN = RECIPE.replace("ecu: main", "ecu: ../main")
DODO = "import otabuild\nfrom otabuild.tasks import *\n\n\n"
NOTES = "@otabuild.after_build('{recipe}')\ndef notes(artifact):\n    'Write notes.'\n"
FETCH = "@otabuild.before_scan('{recipe}', '{rootfs}')\ndef fetch():\n    'Fetch.'\n    open('fetched', 'w')\n\n\n"


@pytest.mark.parametrize("file", ["car", "x=y", "x y*:z"])
def test_a_broken_recipe_gets_a_task_that_stops_no_other(project: Project, file: str) -> None:
    project.add_recipe(file, BROKEN)
    project.recipe.write_text(project.recipe.read_text().replace("name: vehicle", "name: car"))
    listed = project.doit("list", "--all")
    assert listed.code == 0, listed.err
    name = next(line.split()[0] for line in listed.out.splitlines() if "!!" in line)
    refused = project.doit(name)
    assert refused.code == 1
    assert f"recipes/{file}.yaml:13" in refused.out
    built = project.doit("build:car")
    assert built.code == 0, built.out + built.err
    assert project.artifact.exists()


@pytest.mark.parametrize("tasks", ["preflight", "verify", "deploy", "roundtrip", "publish", "repro", "inspect"])
def test_a_group_of_tasks_fails_for_a_broken_recipe(project: Project, tasks: str) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("ecu: main", "ecu: ../main"))
    done = project.doit(tasks)
    assert done.code == 1, done.out + done.err
    assert f"{project.recipe.relative_to(project.root)}:13" in done.out


def test_a_step_of_a_broken_recipe_says_so_and_stops_no_other(project: Project) -> None:
    project.add_recipe("broken", BROKEN.replace("name: {name}", "name: car"))
    steps = FETCH.format(recipe="car", rootfs="main") + NOTES.format(recipe="car")
    (project.root / "dodo.py").write_text(DODO + steps)
    assert project.doit("list", "--all").code == 0
    for step in ("notes:car", "input:car/main"):
        done = project.doit(step)
        assert done.code == 1
        assert f"{step}: a step for a recipe that does not exist (expected vehicle)" in done.out
        assert "build:broken" in done.out
    assert project.doit("build:vehicle").code == 0


def test_a_step_after_no_recipe_says_so(project: Project) -> None:
    (project.root / "dodo.py").write_text(DODO + NOTES.format(recipe="vehcle"))
    done = project.doit("notes:vehcle")
    assert done.code == 1
    assert "notes:vehcle: a step for a recipe that does not exist (expected vehicle)" in done.out
    assert project.doit("build").code == 0


@pytest.mark.parametrize(("recipe", "rootfs"), [("vehicle", "mian"), ("vehcle", "main")])
def test_a_step_before_no_rootfs_is_an_error(project: Project, recipe: str, rootfs: str) -> None:
    (project.root / "dodo.py").write_text(DODO + FETCH.format(recipe=recipe, rootfs=rootfs))
    for command in ("list", "build"):
        done = project.doit(command)
        assert done.code == 3
        assert f"input:{recipe}/{rootfs}: a step for a r" in done.err
        assert "correct the name" in done.err


def test_input_tasks_of_both_kinds(project: Project) -> None:
    project.add_recipe("other")
    (project.root / "dodo.py").write_text(
        DODO
        + FETCH.format(recipe="vehicle", rootfs="main")
        + "def task_input():\n    yield {'name': 'other/main', 'actions': ['touch got']}\n"
    )
    done = project.doit("build")
    assert done.code == 0, done.out + done.err
    assert done.ran.index("input:vehicle/main") < done.ran.index("scan:vehicle/main")
    assert done.ran.index("input:other/main") < done.ran.index("scan:other/main")
    assert (project.root / "fetched").exists()
    assert (project.root / "got").exists()


def test_a_rootfs_that_an_input_task_still_makes_is_not_missed(project: Project) -> None:
    (project.root / "rootfs").rename(project.root / "made")
    project.add_recipe("other")
    (project.root / "dodo.py").write_text(
        DODO
        + FETCH.format(recipe="vehicle", rootfs="main").replace(
            "open('fetched', 'w')", "__import__('os').rename('made', 'rootfs')"
        )
        + "def task_input():\n    yield {'name': 'other/main', 'actions': ['test -d rootfs'], 'task_dep': ['input:vehicle/main']}\n"
    )
    done = project.doit("build")
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize("key", ["output", "output-dir"])
def test_two_recipes_with_one_output(project: Project, key: str) -> None:
    project.add_recipe("good")
    project.add_recipe("twin", RECIPE.replace("output: ../dist/{name}.zip", "output: ../dist/twin.zip"))
    if key == "output":
        project.edit("../dist/vehicle.zip", "../dist/twin.zip")
    else:
        project.edit("output:", "output-dir: ../dist/twin.zip\noutput:")
    listed = project.doit("list", "--all")
    assert listed.code == 0
    assert listed.out.count("!! this recipe is broken") == 2 * listed.out.count("twin ")
    for name, other, used in (("vehicle", "twin", key), ("twin", "vehicle", "output")):
        done = project.doit(f"build:{name}")
        assert done.code == 1
        assert f"recipes/{name}.yaml:" in done.out
        assert f"{used}: recipes/{other}.yaml writes to the same place (observed dist/twin.zip)" in done.out
    assert project.doit("build:good").code == 0
