"""Broken recipes: each produces its message, and only a message."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otabuild.errors import RecipeError
from otabuild.format.strict_yaml import YamlError, parse_yaml
from otabuild.recipe.context import Context
from otabuild.recipe.fields import PathBase
from otabuild.recipe.load import load_recipe, parse_recipe
from tests.recipe import world
from tests.recipe.regenerate import BROKEN, message

RECIPES = sorted(BROKEN.glob("*.yaml"))
SMALLEST = (pathlib.Path(world.HERE) / "good" / "smallest.yaml").read_text()
BASE = PathBase("/folder", "/")


def load(text: str) -> RecipeError | None:
    try:
        parse_recipe(text.encode("utf-8", "surrogatepass"), "name", world.IN_GIT, BASE, "r.yaml")
    except RecipeError as error:
        return error
    return None


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_message(recipe: pathlib.Path) -> None:
    golden = recipe.with_suffix(".txt").read_text(encoding="utf-8")
    assert message(recipe) == golden, "if the new words are better: python -m tests.recipe.regenerate"
    assert golden != "loads\n"


def test_there_are_enough_of_them() -> None:
    assert len(RECIPES) >= 60


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_problem_has_a_place(recipe: pathlib.Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, world.OUTSIDE_GIT, root=str(BROKEN))
    lines = max(1, recipe.read_bytes().count(b"\n") + 1)
    for problem in caught.value.problems:
        assert problem.place.file == recipe.name
        assert 1 <= problem.place.line <= lines
        assert problem.place.column >= 1
    assert list(caught.value.problems) == sorted(caught.value.problems, key=lambda problem: problem.place[:2])


def test_no_message_repeats_a_secret() -> None:
    for key in ("key: hunter2", "key: {pkcs11: hunter2}", "key: {env: 'hunter2 '}", "key: {command: hunter2}"):
        error = load(SMALLEST + f"sign:\n  certificate: c\n  {key}\n")
        assert error
        assert "hunter2" not in str(error)
    for passphrase in ("passphrase: hunter2", "passphrase: {fd: hunter2}", "passphrase: [hunter2]"):
        error = load(SMALLEST + f"sign:\n  certificate: c\n  key: external\n  {passphrase}\n")
        assert error
        assert "hunter2" not in str(error)


def test_a_long_value_gives_a_short_message() -> None:
    for text in (SMALLEST.replace("ecu: main", f"ecu: {'/' * 100_000}"), SMALLEST + f"{'k' * 100_000}: 1\n"):
        error = load(text)
        assert error
        assert len(str(error)) < 2000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SMALLEST.replace("now", "2026-01-01T00:00:00.5Z"), "is not a valid time"),
        (SMALLEST.replace("smallest.zip", '"a\\0b"'), "contains a NUL character"),
        (f"a: &a [{'x, ' * 1000}]\nb: [{'*a, ' * 250}]\n", "more than 250000 values"),
        (
            "a: &a [[[[[[[[1]]]]]]]]\nb: [[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]\n",
            "nested more than 32 deep when all",
        ),
    ],
    ids=["fraction", "nul", "aliases", "depth"],
)
def test_bounds(text: str, said: str) -> None:
    assert said in str(load(text))


def test_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.yaml", world.IN_GIT)


def test_file_that_is_too_large(tmp_path: pathlib.Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (16 << 20) + b"#")
    with pytest.raises(RecipeError, match="too large"):
        load_recipe(large, world.IN_GIT)


@pytest.mark.parametrize("epoch", ["today", "", "-1", "1.5", "\u0661"])
def test_source_date_epoch_that_is_no_number(epoch: str) -> None:
    context = Context(env={"SOURCE_DATE_EPOCH": epoch}, git=world.git, now=0)
    with pytest.raises(RecipeError, match=f"SOURCE_DATE_EPOCH is not a valid time: '{epoch}'"):
        parse_recipe(SMALLEST.encode(), "name", context, BASE, "r.yaml")


WORDS = st.sampled_from(
    [*["recipe", "name", "output", "timestamp", "rootfs", "main", "source", "directory", "tar", "oci", "payloads", "ecu", "sign", "key", "env", "1", "1.10", "true"],
     *["null", "${git:commit}", "${env:X}", "${", "-", "?", ":", ",", "{", "}", "[", "]", "&", "*", "!", "|", ">", "'", "#", "%", "@", "`", "<<", "&a", "*a", "!!str", "!!int", "!!float", "!!bool", "!!timestamp"], '"', "\t", "\n"]
)  # fmt: skip


@settings(max_examples=300, derandomize=True)
@given(
    st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(st.sampled_from(SMALLEST.split("\n"))).map("\n".join))
)
def test_any_text_is_a_recipe_or_our_error(text: str) -> None:
    load(text)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
PLACES = [line.strip() for line in SMALLEST.splitlines() if not line.endswith(":")]


@settings(max_examples=300, derandomize=True)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_is_a_recipe_or_our_error(place: str, value: object) -> None:
    import yaml

    written = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    error = load(SMALLEST.replace(place, f"{place.partition(':')[0]}: {written}"))
    assert error is None or error.problems


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_yaml_or_our_error(raw: bytes) -> None:
    try:
        parse_yaml(raw, "f")
    except YamlError as error:
        place = error.line, error.column
    else:
        place = 1, 1
    assert min(place) >= 1
