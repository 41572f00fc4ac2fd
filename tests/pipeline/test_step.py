"""Stamps: what a step remembers, and when it must run again."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytest

from otabuild.errors import InputError
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps import graph
from otabuild.pipeline.steps.reading_step import ReadingStep
from otabuild.pipeline.workspace import Workspace
from otabuild.storage import files, fs_at
from tests.storage.small_images import blob, write

if TYPE_CHECKING:
    from otabuild.recipe.model import Recipe


class Here(Workspace):
    """A workspace with the stamps of every recipe in the work directory itself."""

    def folder(self, _recipe: str) -> str:
        return self.work

    def prepare(self, _recipe: str) -> None:
        """The tests make the folder."""


@dataclass(frozen=True)
class Inputs:
    """A step's inputs; where its output goes is not a part of the key."""

    value: Annotated[object, KeyPart("the value")]
    output: str


@dataclass(frozen=True)
class Written:
    """A step's results."""

    value: int


class MakeStep(Step[Inputs, Written]):
    """A step that writes its value to a file."""

    kind = "make"
    results_type = Written
    output = "out"
    value = 1
    beside: tuple[str, ...] = ()

    @property
    def doc(self) -> str:
        return "make a thing"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (os.path.normpath(os.path.join(self.workspace.work, self.output)),)

    @property
    def clean(self) -> tuple[str, ...]:
        return tuple(self.outputs[0] + ending for ending in self.beside)

    def inputs(self) -> Inputs:
        return Inputs(self.value, self.outputs[0])

    def run(self, inputs: Inputs) -> Outcome[Written]:
        self.write(Path(inputs.output), inputs.value)
        return Outcome(Written(self.value), {"files": 1})

    def write(self, path: Path, value: object) -> None:
        path.write_text(str(value))


STAMP = "make.stamp"
STEPS = sorted(
    (
        kind
        for kind in (*Step.__subclasses__(), *ReadingStep.__subclasses__())
        if kind.__module__.startswith(graph.__package__) and kind is not ReadingStep
    ),
    key=lambda kind: kind.__name__,
)
DECLARED = {"outputs", "tar", "name", "path", "naming_key", "_open_base", "_database", "_open_built", "_built_files"}
"""What says where files are, and the context that names places of the recipe in errors."""


def step(tmp_path: Path, kind: type[MakeStep] = MakeStep, **changes: object) -> MakeStep:
    """A step with its stamp in a folder, and with some attributes of its class changed."""
    tmp_path.mkdir(exist_ok=True)
    changed = type("ChangedStep", (kind,), changes)
    recipe = cast("Recipe", SimpleNamespace(name="thing"))
    made: MakeStep = changed(recipe, Here(now_ns=0, work=str(tmp_path)))
    return made


def test_what_was_made_is_up_to_date(tmp_path: Path) -> None:
    made = step(tmp_path)
    assert made.decide().reasons == ("not built yet",)
    assert made.execute().results == Written(1)
    assert made.decide().reasons == ()
    assert made.results() == Written(1)


def test_what_changed_is_named(tmp_path: Path) -> None:
    step(tmp_path).execute()
    assert step(tmp_path, value=2).decide().reasons == ("changed: the value",)


def test_another_output_is_missing_until_it_is_made(tmp_path: Path) -> None:
    step(tmp_path).execute()
    (reason,) = step(tmp_path, output="elsewhere").decide().reasons
    assert "elsewhere is missing" in reason


def test_damage_that_leaves_all_times_alone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "file_state", lambda _path: [1, 2, 3])  # no test can set the time of a change
    made = step(tmp_path)
    made.execute()
    assert made.decide().reasons == ()
    (tmp_path / "out").write_text("3")
    assert made.decide().reasons == (f"{tmp_path / 'out'} was changed by something else",)


@pytest.mark.parametrize("put", ["a pipe", "an endless device"])
def test_a_stamp_that_is_no_plain_file_is_not_read(tmp_path: Path, put: str) -> None:
    step(tmp_path).execute()
    (tmp_path / STAMP).unlink()
    if put == "a pipe":
        os.mkfifo(tmp_path / STAMP)
    else:
        (tmp_path / STAMP).symlink_to("/dev/zero")
    assert step(tmp_path).decide().reasons == ("not built yet",)
    step(tmp_path).execute()
    assert step(tmp_path).decide().reasons == ()


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_output_that_somebody_touched_is_made_again(tmp_path: Path, damage: str) -> None:
    step(tmp_path).execute()
    if damage == "gone":
        (tmp_path / "out").unlink()
    else:
        (tmp_path / "out").write_text("2")
    (reason,) = step(tmp_path).decide().reasons
    assert reason.endswith((" is missing", " was changed by something else"))


def test_a_step_that_fails_is_not_up_to_date(tmp_path: Path) -> None:
    step(tmp_path).execute()

    def fail(_step: MakeStep, _path: Path, _value: object) -> None:
        raise InputError("no")

    with pytest.raises(InputError):
        step(tmp_path, write=fail).execute()
    assert step(tmp_path).decide().reasons == ("not built yet",)


def test_removing_takes_stamp_and_outputs_and_what_goes_with_them(tmp_path: Path) -> None:
    made = step(tmp_path / "work", output="../out", beside=(".report",))
    made.execute()
    (tmp_path / "out.report").write_text("")
    assert len(made.remove(dry_run=True)) == 3
    assert len(made.remove()) == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["work"]


def test_removing_takes_what_lies_beside_the_stamp(tmp_path: Path) -> None:
    made = step(tmp_path, beside=(".report",))
    made.execute()
    (tmp_path / STAMP).unlink()
    assert made.remove() == [str(tmp_path / "out")]


@pytest.mark.parametrize("output", ["file", "folder", "image"])
def test_removing_leaves_what_no_run_made(tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file.report").write_text("mine")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "image", "mine")
    made = step(tmp_path / "work", output=f"../{output}", beside=(".report",))
    assert made.remove() == []
    assert (tmp_path / output).exists()


@pytest.mark.parametrize("put", ["folder", "image"])
def test_removing_a_file_takes_no_folder_that_was_put_there(tmp_path: Path, put: str) -> None:
    made = step(tmp_path / "work", output="../out", beside=(".report",))
    made.execute()
    (tmp_path / "out").unlink()
    if put == "image":
        write(tmp_path / "out", "mine")
    else:
        (tmp_path / "out").mkdir()
    assert made.remove() == [made.stamp]
    assert (tmp_path / "out").exists()


class ImageStep(MakeStep):
    """A step that makes an image directory."""

    output = "../image"

    def write(self, path: Path, _value: object) -> None:
        write(path, "built")


def image_step(tmp_path: Path) -> MakeStep:
    return step(tmp_path / "work", ImageStep)


@pytest.mark.parametrize("is_link", [False, True], ids=["folder", "link"])
def test_removing_an_image_directory(tmp_path: Path, *, is_link: bool) -> None:
    image = tmp_path / "image"
    if is_link:
        image.symlink_to("real")
    made = image_step(tmp_path)
    made.execute()
    assert made.decide().reasons == ()
    assert len(made.remove()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == (["image", "work"] if is_link else ["work"])
    made.execute()
    assert blob(image) == "built"


def test_removing_leaves_a_folder_that_was_put_in_the_place_of_an_image(tmp_path: Path) -> None:
    made = image_step(tmp_path)
    made.execute()
    (tmp_path / "image/index.json").write_text("mine")
    assert made.remove() == [made.stamp]
    assert (tmp_path / "image/index.json").exists()


def test_removing_an_image_that_is_killed_lets_the_next_run_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = image_step(tmp_path)
    made.execute()

    def kill(name: str, folder: int, _path: str) -> None:
        os.unlink(f"{name}/index.json", dir_fd=folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fs_at, "remove_tree", kill)
        with pytest.raises(KeyboardInterrupt):
            made.remove()
    made.execute()
    assert blob(tmp_path / "image") == "built"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "work"]


@pytest.mark.parametrize("damage", ["gone", "changed", "added", "index", "moved"])
def test_an_image_directory_that_somebody_touched_is_made_again(tmp_path: Path, damage: str) -> None:
    image = tmp_path / "image"
    made = image_step(tmp_path)
    made.execute()
    assert made.decide().reasons == ()
    (path,) = (image / "blobs/sha256").iterdir()
    if damage == "gone":
        path.unlink()
    elif damage == "changed":
        path.write_text("BUILT")
    elif damage == "added":
        (image / "blobs/more").write_text("more")
    elif damage == "index":
        (image / "index.json").write_bytes((image / "index.json").read_bytes())
    else:
        shutil.rmtree(image)
    (reason,) = made.decide().reasons
    assert reason.endswith((" is missing", " was changed by something else"))
    made.execute()
    assert made.decide().reasons == ()
    assert blob(image) == "built"


def test_what_is_no_part_of_the_key_is_no_reason(tmp_path: Path) -> None:
    made = step(tmp_path)
    one, other = (made.decide().key, replace(made, workspace=replace(made.workspace, now_ns=9)).decide().key)
    assert one == other
    assert sorted(one) == ["the value", "version of otabuild"]


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.__name__)
def test_a_run_sees_nothing_of_the_recipe_but_its_inputs(kind: type[Step[Any, Any]]) -> None:
    """Inputs are frozen and part of the key or of messages; `run` and what it calls must not reach around them."""
    module = ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    methods = {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}
    waiting, seen = ["run"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        used = {node.attr for node in ast.walk(methods[name]) if isinstance(node, ast.Attribute)}
        assert "recipe" not in used, name
        waiting += sorted(used & methods.keys() - seen - DECLARED)
