"""Stamps: what a step remembers, and when it must run again."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.pipeline.step import Outcome, Step
from otabuild.storage import files, fs_at
from tests.storage.test_directory_writer import blob, write


def step(tmp_path: Path, output: str = "out", value: object = 1) -> Step:
    """A step that writes its value to a file."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / output

    def run() -> Outcome:
        path.write_text(str(value))
        return Outcome({"value": value}, {"files": 1})

    return Step(
        name="make:thing",
        doc="make a thing",
        stamp=str(tmp_path / "stamp"),
        after=(),
        key=lambda: {"the value": value},
        outputs=(str(path),),
        run=run,
    )


def test_what_was_made_is_up_to_date(tmp_path: Path) -> None:
    made = step(tmp_path)
    assert made.decide().reasons == ("not built yet",)
    assert made.execute().results == {"value": 1}
    assert made.decide().reasons == ()
    assert made.results() == {"value": 1}


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
    (tmp_path / "stamp").unlink()
    if put == "a pipe":
        os.mkfifo(tmp_path / "stamp")
    else:
        (tmp_path / "stamp").symlink_to("/dev/zero")
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

    def fail() -> Outcome:
        raise InputError("no")

    made = step(tmp_path)
    broken = Step(made.name, made.doc, made.stamp, (), made.key, made.outputs, fail)
    with pytest.raises(InputError):
        broken.execute()
    assert made.decide().reasons == ("not built yet",)


def removing(made: Step) -> Step:
    return replace(made, clean=(*made.outputs, f"{made.outputs[0]}.report"))


def test_removing_takes_stamp_and_outputs_and_what_goes_with_them(tmp_path: Path) -> None:
    made = removing(step(tmp_path / "work", output="../out"))
    made.execute()
    (tmp_path / "out.report").write_text("")
    assert len(made.remove(dry_run=True)) == 3
    assert len(made.remove()) == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["work"]


def test_removing_takes_what_lies_beside_the_stamp(tmp_path: Path) -> None:
    made = removing(step(tmp_path))
    made.execute()
    (tmp_path / "stamp").unlink()
    assert made.remove() == [str(tmp_path / "out")]


@pytest.mark.parametrize("output", ["file", "folder", "image"])
def test_removing_leaves_what_no_run_made(tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file.report").write_text("mine")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "image", "mine")
    made = removing(step(tmp_path / "work", output=f"../{output}"))
    assert made.remove() == []
    assert (tmp_path / output).exists()


@pytest.mark.parametrize("put", ["folder", "image"])
def test_removing_a_file_takes_no_folder_that_was_put_there(tmp_path: Path, put: str) -> None:
    made = removing(step(tmp_path / "work", output="../out"))
    made.execute()
    (tmp_path / "out").unlink()
    if put == "image":
        write(tmp_path / "out", "mine")
    else:
        (tmp_path / "out").mkdir()
    assert made.remove() == [made.stamp]
    assert (tmp_path / "out").exists()


def image_step(tmp_path: Path, path: Path) -> Step:
    """A step that makes an image directory."""

    def run() -> Outcome:
        write(path, "built")
        return Outcome({}, {})

    (tmp_path / "work").mkdir(exist_ok=True)
    return Step("make:image", "", str(tmp_path / "work/stamp"), (), dict, (str(path),), run, clean=(str(path),))


@pytest.mark.parametrize("is_link", [False, True], ids=["folder", "link"])
def test_removing_an_image_directory(tmp_path: Path, *, is_link: bool) -> None:
    image = tmp_path / "image"
    if is_link:
        image.symlink_to("real")
    made = image_step(tmp_path, image)
    made.execute()
    assert made.decide().reasons == ()
    assert len(made.remove()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == (["image", "work"] if is_link else ["work"])
    made.execute()
    assert blob(image) == "built"


def test_removing_leaves_a_folder_that_was_put_in_the_place_of_an_image(tmp_path: Path) -> None:
    made = image_step(tmp_path, tmp_path / "image")
    made.execute()
    (tmp_path / "image/index.json").write_text("mine")
    assert made.remove() == [made.stamp]
    assert (tmp_path / "image/index.json").exists()


def test_removing_an_image_that_is_killed_lets_the_next_run_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = image_step(tmp_path, tmp_path / "image")
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
    made = image_step(tmp_path, image)
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
