"""Stamps: what a step remembers, and when it must run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.pipeline.step import Outcome, Step


def step(tmp_path: Path, output: str = "out", value: object = 1) -> Step:
    """A step that writes its value to a file."""
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
    assert made.decide().reasons == ("it was not built yet, or not to its end",)
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


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_output_that_somebody_touched_is_made_again(tmp_path: Path, damage: str) -> None:
    step(tmp_path).execute()
    if damage == "gone":
        (tmp_path / "out").unlink()
    else:
        (tmp_path / "out").write_text("2")
    (reason,) = step(tmp_path).decide().reasons
    assert "missing or was changed" in reason


def test_a_step_that_fails_is_not_up_to_date(tmp_path: Path) -> None:
    step(tmp_path).execute()

    def fail() -> Outcome:
        raise InputError("no")

    made = step(tmp_path)
    broken = Step(made.name, made.doc, made.stamp, (), made.key, made.outputs, fail)
    with pytest.raises(InputError):
        broken.execute()
    assert made.decide().reasons == ("it was not built yet, or not to its end",)


def test_removing_takes_stamp_and_outputs(tmp_path: Path) -> None:
    made = step(tmp_path)
    made.execute()
    cleaning = Step(made.name, made.doc, made.stamp, (), made.key, made.outputs, made.run, clean=made.outputs)
    assert len(cleaning.remove(dry_run=True)) == 2
    assert len(cleaning.remove()) == 2
    assert list(tmp_path.iterdir()) == []
