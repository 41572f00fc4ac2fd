"""YAML with bounds: what has a place, and what is refused with one."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otabuild.format import limits
from otabuild.format.strict_yaml import YamlError, check_constructible, parse_yaml

BROKEN = (
    "b: [",
    "b: ]",
    "b: {c: d",
    "b: 'c",
    'b: "\\q"',
    "b: *",
    "b: &",
    "b: @c",
    "b: `c`",
    "b: %c\n%d",
    "b\n",
    "b: c: d",
    " b: c",
    "\tb: c",
    "b:\n\t- c",
    "b: {c: ${d}}",
    "b: - c",
    "b: |\n c\nd",
    "- b",
    "!<b",
    "b: !h!x y",
    "--- #\n...\nb",
    "b: &x &y z",
)
"""Endings that no reader of YAML takes, each after a good line."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n? [x]\n: 2\n", "y:2:3: a key must be one word or text"),
        ("a: 1\n{b: c}: 2\n", "y:2:1: a key must be one word or text"),
        *((f"a: 1\n{text}", "y:") for text in BROKEN),
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


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"\xff", "y:1:1"),
        (b"\n\xff", "y:2:1"),
        (b"a: 1\nb: \xff\n", "y:2:1"),
        (b"a: \x01", "y:1:4"),
        (b"a: 1\nbc\x7f", "y:2:3"),
        (b"\x00", "y:1:1"),
        (b"\n\x00", "y:2:1"),
    ],
)
def test_what_is_no_text_has_its_place(raw: bytes, place: str) -> None:
    with pytest.raises(YamlError, match=place) as refused:
        parse_yaml(raw, "y")
    assert f"y:{refused.value.line}:{refused.value.column}" == place


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: &b [1, 1, 1, 1]\nc: [*b, *b]\n",
        "a: 1\nb: &b [1, 1, 1, 1]\nc: {d: *b, e: *b}\n",
        "a: 1\nb: [1, 1, 1, 1, 1, 1, 1, 1]\nc: d\n",
        "- &b [1, 1, 1]\n- *b\n- *b\n",
    ],
)
def test_values_count_where_an_alias_writes_them(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = parse_yaml(text.encode(), "y")[0].nodes
    monkeypatch.setattr(limits, "YAML_NODES", nodes)
    assert parse_yaml(text.encode(), "y")[0].nodes == nodes
    for limit in range(nodes - 4, nodes):
        monkeypatch.setattr(limits, "YAML_NODES", limit)
        with pytest.raises(YamlError, match=f"more than {limit} values when all aliases are written out"):
            parse_yaml(text.encode(), "y")


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_depth_counts_where_an_alias_writes_it(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    half = limits.JSON_DEPTH // 2

    def nested(depth: int, inside: str) -> str:
        return opening * depth + inside + closing * depth

    deep = f"- &x {nested(half - 1, '1')}\n- {nested(half - 1, '*x')}\n"
    assert parse_yaml(deep.encode(), "y")[0].depth == limits.JSON_DEPTH
    too_deep = f"- &x {nested(half, '1')}\n- {nested(half - 1, '*x')}\n"
    with pytest.raises(YamlError, match=r"y:2:\d+: nested more than 32 deep"):
        parse_yaml(too_deep.encode(), "y")
    with pytest.raises(YamlError, match=r"y:1:\d+: nested more than 32 deep$"):
        parse_yaml(nested(limits.JSON_DEPTH, "1").encode(), "y")


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.dates() | st.text(st.characters(min_codepoint=32, max_codepoint=126))
)


@given(st.recursive(PLAIN, lambda below: st.lists(below) | st.dictionaries(st.text("abc"), below), max_leaves=8))
def test_what_a_safe_writer_writes_is_read_as_a_safe_loader_reads_it(value: object) -> None:
    text = yaml.safe_dump(value)
    tree, remarks = parse_yaml(text.encode(), "y")
    assert tree.plain() == yaml.safe_load(text)
    assert remarks == ()


def test_each_value_has_its_place_and_its_kind() -> None:
    tree, _ = parse_yaml(b"a: text\nb:\n  - 5\n  - [1.5, yes]\nc: {d: ~, e: 2026-01-01}\n", "y")
    seen = {}
    paths: list[list[str | int]] = [["a"], ["b"], ["b", 0], ["b", 1, 0], ["b", 1, 1], ["c"], ["c", "d"], ["c", "e"]]
    for path in paths:
        node, trail, name = tree.follow(path)
        assert trail == path
        seen[tuple(path)] = (node.kind, node.line, node.column, name.line, name.column)
    assert seen == {
        ("a",): ("string", 1, 4, 1, 1),
        ("b",): ("list", 3, 3, 2, 1),
        ("b", 0): ("integer", 3, 5, 3, 5),
        ("b", 1, 0): ("number", 4, 6, 4, 6),
        ("b", 1, 1): ("boolean", 4, 11, 4, 11),
        ("c",): ("mapping", 5, 4, 5, 1),
        ("c", "d"): ("null", 5, 8, 5, 5),
        ("c", "e"): ("date", 5, 14, 5, 11),
    }
    node, trail, _ = tree.follow(["b", 7, "x", 1, "y", 0])
    assert (node.line, trail) == (4, ["b", 1, 0])
    assert tree.get(0) is None
    assert (tree.get("b") or tree).get(-1) is None
    assert (tree.get("b") or tree).get(2) is None
    assert (tree.get("b") or tree).get("0") is None
    assert (tree.get("a") or tree).get("x") is None


@pytest.mark.parametrize("raw", [b"", b"# only a comment\n"])
def test_a_document_without_a_value_is_null(raw: bytes) -> None:
    tree, remarks = parse_yaml(raw, "y")
    assert (tree.kind, tree.line, tree.column, tree.plain(), remarks) == ("null", 1, 1, None, ())


def test_remarks_come_in_the_order_of_lines() -> None:
    _, remarks = parse_yaml(b"a: {c: !!str 1, c: 2}\n? !own b\n: !!int 3\na: 4\n", "y")
    assert [str(remark.where) for remark in remarks] == ["y:1:8", "y:1:17", "y:2:3", "y:3:3", "y:4:1"]
    assert [remark.what for remark in remarks] == [
        "the tag !!str has no meaning here",
        "the key 'c' occurs twice in this mapping, first in line 1",
        "the tag !own has no meaning here",
        "the tag !!int has no meaning here",
        "the key 'a' occurs twice in this mapping, first in line 1",
    ]
