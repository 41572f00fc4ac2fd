"""YAML with bounds: what has a place, and what is refused with one."""

from __future__ import annotations

import pytest

from otabuild.format import limits
from otabuild.format.strict_yaml import YamlError, check_constructible, parse_yaml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n? [x]\n: 2\n", "y:2:3: a key must be one word or text"),
        ("a: 1\n{b: c}: 2\n", "y:2:1: a key must be one word or text"),
        ("a: 1\n<<: 5\n", "y:2:1: << takes a mapping, or a list of mappings"),
        ("a: &a {b: 1}\nc:\n  <<: [*a, text]\n", "y:3:3: << takes a mapping, or a list of mappings"),
        ("a: 1\n--- \nb: 2\n", "y:2:1: more than one document"),
        ("a: *b\n", "y:1:4: the alias \\*b has no anchor"),
        ("a: &b [*b]\n", "y:1:8: the alias \\*b is inside its own anchor"),
        ("a: " + "1:" * 200 + "1\n", "y:1:4: a whole number of more than 200 characters"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(YamlError, match=said):
        parse_yaml(text.encode(), "y")


def test_the_first_of_two_merged_mappings_wins_and_the_own_key_over_both() -> None:
    tree, remarks = parse_yaml(b"a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\n", "y")
    merged = tree.get("c")
    assert merged is not None
    assert merged.plain() == {"z": 3, "x": 1, "y": 1}
    assert remarks == ()


@pytest.mark.parametrize("values", [4, 5])
def test_the_keys_of_a_mapping_count_too(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its keys and itself, a mapping of n values is 2n + 1."""
    monkeypatch.setattr(limits, "YAML_NODES", 10)
    text = "".join(f"k{number}: 1\n" for number in range(values)).encode()
    if values == 4:
        assert parse_yaml(text, "y")[0].nodes == 9
        return
    with pytest.raises(YamlError, match=r"y:1:1: more than 10 values"):
        parse_yaml(text, "y")


@pytest.mark.parametrize(
    "text",
    ["a: !!int foo\n", "a: !!float x\n", "a: !!bool maybe\n", "a: !!timestamp soon\n", "a: !!int ''\n"],
)
def test_a_tag_that_does_not_fit_its_text_stops_a_safe_loader(text: str) -> None:
    with pytest.raises(YamlError, match="a text does not fit its tag") as refused:
        check_constructible(text.encode(), "y")
    assert "remove the tags" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "place"), [("a:\n  b: !own x\n", "y:2:6"), ("a: !!set [x]\n", "y:1:4"), ("a: !!python/none x\n", "y:1:4")]
)
def test_a_tag_that_no_safe_loader_knows_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(YamlError, match=f"{place}: clients cannot read this"):
        check_constructible(text.encode(), "y")


def test_what_a_safe_loader_can_make_passes() -> None:
    check_constructible(b"a: !!str 5\nb: !!binary aGk=\nc: 2026-01-01\n", "y")
