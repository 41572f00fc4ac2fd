"""Errors in the surroundings of a recipe are all reported at once, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.api import build
from otabuild.errors import Finding, RecipeError
from otabuild.pipeline import own_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
from otabuild.recipe.surroundings import bad_surroundings
from tests.pki import NOW
from tests.rootfs.trees import as_nobody

RECIPE = """\
recipe: 1
output: {output}
timestamp: {timestamp}
rootfs:
  one:
    source: [{{directory: gone}}, {{tar: gone.tar}}]
    overlay: [{{directory: gone-too}}]
    base-image: x
    architecture: x86_64
    owner: "0:0"
payloads: [{{ecu: main, rootfs: one}}]
sign: {{certificate: r.yaml, key: {{command: [{program}, x]}}}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "r.yaml"


def write(path: Path, output: str = "image.zip", timestamp: str = "2000-01-01T00:00:00Z", program: str = "sh") -> None:
    path.write_text(RECIPE.format(output=output, timestamp=timestamp, program=program))


def found(path: Path, made: str = "one") -> dict[str, Finding]:
    return {problem.place.key: problem for problem in bad_surroundings(load_recipe(path), NOW, made.__eq__)}


def test_all_of_it_is_told_at_once_and_before_any_work(recipe: Path) -> None:
    write(recipe, "r.yaml.d/x/image.zip", "2999-01-01T00:00:00Z", "nosuchprog")
    (recipe.parent / "r.yaml.d").write_text("")
    with pytest.raises(RecipeError) as caught:
        build("r.yaml", workspace=Workspace(now_ns=NOW * 10**9))
    assert [(problem.place.line, problem.place.key) for problem in caught.value.problems] == [
        (2, "output"),
        (3, "timestamp"),
        (6, "rootfs.one.source[0].directory"),
        (6, "rootfs.one.source[1].tar"),
        (7, "rootfs.one.overlay[0].directory"),
        (12, "sign.key.command[0]"),
    ]
    assert all(problem.observed and problem.hint for problem in caught.value.problems)


def test_what_is_fine_and_what_a_step_may_still_make(recipe: Path) -> None:
    write(recipe)
    assert not found(recipe)
    assert len(found(recipe, made="another")) == 3


@pytest.mark.parametrize("program", ["./sign.sh", "nosuchprog", "r.yaml"])
def test_programs_that_cannot_be_run(recipe: Path, program: str) -> None:
    (recipe.parent / "sign.sh").write_text("#!/bin/sh\n")
    write(recipe, program=program)
    assert found(recipe)["sign.key.command[0]"].observed == program
    (recipe.parent / "sign.sh").chmod(0o755)
    assert bool(found(recipe)) is (program != "./sign.sh")


def test_an_output_in_a_folder_that_may_not_be_written_to(recipe: Path) -> None:
    (recipe.parent / "closed").mkdir(mode=0o555)
    write(recipe, "closed/new/image.zip\noutput-dir: closed/image")
    before = sorted(recipe.parent.rglob("*"))
    with as_nobody(recipe.parent):
        problems = found(recipe)
    assert {key: problem.observed for key, problem in problems.items()} == {"output": "closed", "output-dir": "closed"}
    assert sorted(recipe.parent.rglob("*")) == before, "looking leaves nothing"


def test_an_input_step_is_known_however_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_steps, "_registered", own_steps.OwnSteps({("r", "one"): lambda: None}, {}))
    monkeypatch.setattr(own_steps, "_tasks", {"input:r/two", "input-of-mine:r/three", "build:r"})
    known = {name for name in ("one", "two", "three", "four") if own_steps.has_input_step("r", name)}
    assert known == {"one", "two", "three"}
