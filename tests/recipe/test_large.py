"""Large recipes and sys_configs: thousands of entries are read; aliases cannot make more of a small file than that."""

from __future__ import annotations

import pytest

from otabuild.errors import OtabuildError, RecipeError
from otabuild.format.strict_yaml import YamlError, YamlNode, parse_yaml
from otabuild.format.sys_config import parse_sys_config
from otabuild.recipe.fields import PathBase
from otabuild.recipe.load import parse_recipe
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import place_of
from tests.recipe import world

ROOTFS = "{{source: {{directory: tree}}, base-image: x, architecture: x86_64, owner: keep{more}}}"
PAYLOAD = (
    "  - {{ecu: e{n}, rootfs: {rootfs}, release-keys: [{keys}], sys-config: sys-config/of-the-ecu-e{n}.yaml,"
    " hardware: {{model: orin-agx, series: orin}}, description: 'the ECU number {n} of a vehicle that has many'}}\n"
)


def parse(payloads: str, *, rootfs: str = "", more: str = "") -> Recipe:
    rootfs = rootfs or f"  main: {ROOTFS.format(more=more)}\n"
    text = f"recipe: 1\noutput: large.zip\nrootfs:\n{rootfs}payloads:\n{payloads}"
    return parse_recipe(text.encode(), "large", world.IN_GIT, PathBase("/product", "/product"), "large.yaml")


def payloads(count: int, rootfs: str = "main", keys: str = "dev") -> str:
    return "".join(PAYLOAD.format(n=n, keys=keys, rootfs=rootfs.format(n=n)) for n in range(count))


def test_thousands_of_payloads() -> None:
    recipe = parse(payloads(4096))
    assert [payload.ecu for payload in recipe.payloads] == [f"e{n}" for n in range(4096)]
    assert place_of(recipe, ["payloads", 4095, "ecu"]).line == 4 + 1 + 4096


def test_every_payload_has_a_rootfs_of_its_own() -> None:
    rootfs = "".join(f"  m{n}: {ROOTFS.format(more='')}\n" for n in range(2000))
    assert len(parse(payloads(2000, rootfs="m{n}"), rootfs=rootfs).rootfs) == 2000


def test_every_payload_is_written_with_anchors() -> None:
    lines = "  - &first {ecu: e, rootfs: main, release-keys: &keys [dev, prd], hardware: &h {model: m, series: s}}\n"
    lines += "".join(f"  - {{<<: *first, ecu: e{n}, hardware: {{<<: *h, series: s{n}}}}}\n" for n in range(2000))
    assert parse(lines).payloads[2000].hardware.series == "s1999"


@pytest.mark.parametrize("kind", ["exclude", "set", "drop"])
def test_lists_of_ten_thousand_lines(kind: str) -> None:
    patterns = "".join(f"\n      /opt/data/{n}," for n in range(10_000))
    rules = "".join(f'\n      {{path: /opt/data/{n}, mode: "0640", owner: "0:0"}},' for n in range(10_000))
    more = {
        "exclude": f", prepare: {{exclude: [{patterns}]}}",
        "set": f", set: [{rules}]",
        "drop": f", xattrs: {{drop: [{patterns}]}}",
    }[kind]
    main = parse(payloads(1), more=more).rootfs["main"]
    assert len({"exclude": main.prepare.exclude, "set": main.set, "drop": main.xattrs.drop}[kind]) == 10_000


def test_a_sys_config_of_ten_thousand_lines() -> None:
    lines = "".join(f"  - /opt/data/{n}\n" for n in range(10_000))
    config = parse_sys_config(f"hostname: a\npersist_files:\n{lines}".encode(), "s.yaml")
    assert len(config.persist_files or ()) == 10_000


@pytest.mark.parametrize(("count", "keys", "entries"), [(4097, "dev", 4097), (2049, "dev, prd", 4098)])
def test_more_payloads_than_an_index_holds_are_told_before_any_work(count: int, keys: str, entries: int) -> None:
    with pytest.raises(RecipeError) as refused:
        parse(payloads(count, keys=keys))
    assert f"the index would have {entries} entries (expected at most 4096)" in str(refused.value)


def test_thousands_of_problems_are_told_with_few_words_each() -> None:
    rootfs = "".join(f"  m{n}: {ROOTFS.format(more='')}\n" for n in range(2000))
    with pytest.raises(RecipeError) as refused:
        parse(payloads(2000, rootfs="main"), rootfs=rootfs)
    assert len(refused.value.problems) == 2000
    assert max(len(problem.message) for problem in refused.value.problems) < 1000


BOMBS = {
    "lists": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 10)) for n in range(97, 110)),
    "mappings": b"a: &a {x: 1, y: 2}\n"
    + b"".join(b"%c: &%c {x: *%c, y: *%c}\n" % (n + 1, n + 1, n, n) for n in range(97, 120)),
    "merged": b"a: &a {%s}\n" % b", ".join(b"k%d: 1" % n for n in range(1000))
    + b"".join(b"m%d: {<<: *a}\n" % n for n in range(1000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_cannot_make_more_of_a_small_file(bomb: str) -> None:
    with pytest.raises(YamlError, match="more than 250000 values when all aliases are written out"):
        parse_yaml(BOMBS[bomb], "bomb.yaml")
    for parse_it in (parse_sys_config, lambda raw, _where: parse(raw.decode())):
        with pytest.raises(OtabuildError):
            parse_it(BOMBS[bomb], "bomb.yaml")


def test_the_first_of_equal_keys_is_found() -> None:
    one, two = (YamlNode("string", line, 1, text="k", value="k") for line in (1, 2))
    assert YamlNode("mapping", 1, 1, pairs=((one, two), (two, one))).get("k") is two
    assert parse_yaml(b"1: x", "x.yaml")[0].get(1) is None
