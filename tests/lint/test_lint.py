"""lint: each rule finds its problem on images and in recipes, and is silent otherwise."""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import re
import stat
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otabuild.cli import main
from otabuild.commands.release import _lint_lines
from otabuild.errors import Finding, InputError
from otabuild.findings import findings_of, rules_of
from otabuild.image.image import open_image
from otabuild.lint.lint import CertificatesSubject, PathSubject, Row, TimeSubject, check_ignored, lint_tree
from otabuild.lint.lint_image import lint_image
from otabuild.pipeline.lint_recipe import lint_recipe
from otabuild.recipe.load import load_recipe
from otabuild.signing.certificates import Certificate
from otabuild.signing.demo_pki import write_demo_pki
from otabuild.signing.trust import TrustPolicy
from tests import pki
from tests.image.products import NOW, Tree, build, workspace, write_recipe
from tests.pki import DAY, intermediate, issue, root, signer

FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
MAGIC = importlib.util.MAGIC_NUMBER


def rules(findings: Any) -> list[tuple[str, str]]:
    return sorted((finding.rule, finding.where.partition(": ")[2]) for finding in findings)


def pyc(folder: Path, mode: py_compile.PycInvalidationMode) -> bytes:
    source = folder / "m.py"
    source.write_text("x = 1\n")
    compiled = py_compile.compile(str(source), str(folder / "m.pyc"), invalidation_mode=mode)
    assert compiled is not None
    return Path(compiled).read_bytes()


@pytest.mark.parametrize(("mode", "stale"), [("TIMESTAMP", True), ("CHECKED_HASH", False), ("UNCHECKED_HASH", False)])
def test_pyc_files_as_python_writes_them(tmp_path: Path, mode: str, stale: bool) -> None:
    head = pyc(tmp_path, py_compile.PycInvalidationMode[mode])[:16]
    tag = sys.implementation.cache_tag
    rows = [
        Row("/a/m.py", FILE),
        Row(f"/a/__pycache__/m.{tag}.opt-1.pyc", FILE, lambda: head),
        Row("/a/x.pyc", FILE, lambda: head),
    ]
    found = [("stale-pyc", f"/a/__pycache__/m.{tag}.opt-1.pyc")] if stale else []
    assert rules(lint_tree(rows, "main")) == found, "and a file without a source is never held against one"
    legacy = [Row("/a/m.py", FILE), Row("/a/m.pyc", FILE, lambda: head)]
    assert bool(list(lint_tree(legacy, "main"))) == stale


@pytest.mark.parametrize("magic", [62211, 3379])
def test_interpreters_before_hashes_know_times_only(magic: int) -> None:
    head = magic.to_bytes(2, "little") + b"\r\n" + b"\1\0\0\0"
    rows = [Row("/m.py", FILE), Row("/m.pyc", FILE, lambda: head)]
    assert [finding.rule for finding in lint_tree(rows, "main")] == ["stale-pyc"]


def test_crowded_directories() -> None:
    rows = [Row(f"/d/{n}", FILE) for n in range(8192)]
    assert not list(lint_tree([*rows, Row("/d/sub", DIRECTORY)], "main"))
    assert rules(lint_tree([*rows, Row("/d/one-more", FILE)], "main")) == [("crowded-directory", "/d")]


def test_deep_trees() -> None:
    assert not list(lint_tree([Row("/d" * 35, FILE)], "main"))
    assert rules(lint_tree([Row("/d" * 36, FILE)], "main")) == [("deep-tree", "/d" * 36)]


def elf(machine: int, order: str = "little") -> bytes:
    head = b"\x7fELF\2" + (b"\2" if order == "big" else b"\1")
    return head.ljust(18, b"\0") + machine.to_bytes(2, order) + b"\0" * 40  # type: ignore[arg-type]  # big or little


@pytest.mark.parametrize(
    ("programs", "architecture", "what"),
    [
        ({"/usr/bin/env": elf(62)}, "x86_64", ""),
        ({"/usr/bin/env": elf(62)}, "arm64", "is for x86_64, not arm64"),
        ({"/bin/sh": elf(183)}, "x86_64", "is for arm64, not x86_64"),
        ({"/bin/busybox": elf(21, "big")}, "x86_64", "is for machine 21, not x86_64"),
        ({"/lib/ld-linux-aarch64.so.1": elf(183)}, "x86_64", "is for arm64, not x86_64"),
        ({"/lib/ld-linux-aarch64.so.1": elf(183), "/usr/bin/dash": elf(62)}, "x86_64", ""),
        ({"/bin/sh": b"#!/bin/busybox sh\n"}, "x86_64", ""),
        ({"/opt/firmware": elf(183)}, "x86_64", ""),
        ({"/bin/sh": elf(40)}, "armhf", ""),
        ({"/bin/sh": elf(183)}, "aarch64", ""),
    ],
)
def test_programs_for_another_architecture(programs: dict[str, bytes], architecture: str, what: str) -> None:
    rows = [Row(path, FILE, partial(bytes, content)) for path, content in programs.items()]
    found = [finding.what for finding in lint_tree(rows, "main", None, architecture)]
    assert found == ([what] if what else [])


@pytest.mark.parametrize(
    ("mode", "before", "rule"),
    [
        (stat.S_IFREG | 0o4755, 0, "new-setuid"),
        (stat.S_IFREG | 0o2755, stat.S_IFREG | 0o755, "new-setuid"),
        (stat.S_IFREG | 0o6755, stat.S_IFREG | 0o4755, "new-setuid"),
        (stat.S_IFREG | 0o4755, stat.S_IFREG | 0o4711, None),
        (stat.S_IFDIR | 0o2755, 0, None),
        (stat.S_IFREG | 0o666, 0, "new-world-writable"),
        (stat.S_IFDIR | 0o777, stat.S_IFDIR | 0o1777, "new-world-writable"),
        (stat.S_IFDIR | 0o1777, 0, None),
        (stat.S_IFREG | 0o666, stat.S_IFREG | 0o646, None),
        (stat.S_IFLNK | 0o777, 0, None),
    ],
)
def test_what_the_base_did_not_have(mode: int, before: int, rule: str | None) -> None:
    found = list(lint_tree([Row("/x", mode)], "main", {"/x": before} if before else {}))
    assert [finding.rule for finding in found] == ([rule] if rule else [])
    assert not list(lint_tree([Row("/x", mode)], "main")), "without a base nothing is new"


def test_times_and_certificates() -> None:
    assert [f.rule for f in findings_of(TimeSubject("index.jwt", NOW + 1, NOW))] == ["future-time"]
    assert not list(findings_of(TimeSubject("index.jwt", NOW, NOW)))
    assert not list(findings_of(TimeSubject("index.jwt", None, NOW)))
    chain = tuple(
        Certificate(issue(name, not_after=NOW + left).certificate, name)
        for name, left in (("late", 31 * DAY), ("soon", 29 * DAY), ("past", -1))
    )
    assert [(f.where, f.what.split()[0]) for f in findings_of(CertificatesSubject(chain, NOW))] == [
        ("soon", "expires"),
        ("past", "expired"),
    ]


@pytest.mark.parametrize(
    ("parties", "anchors", "what"),
    [
        ([signer(), intermediate()], [root()], None),
        ([issue("signer", root())], [root()], None),
        ([signer(), intermediate()], [], None),
        ([signer()], [], "cannot be told"),
        ([issue("signer", root())], [], "cannot be told"),
        ([signer()], [root()], "does not end at a trusted root"),
        ([signer(), intermediate()], [issue("another", ca=True)], "does not end at a trusted root"),
        ([signer(), intermediate()], [issue("root", own_key=pki.key("old"), ca=True)], "has a different key"),
    ],
)
def test_chains_that_end_at_no_root(parties: list[pki.Party], anchors: list[pki.Party], what: str | None) -> None:
    policy = TrustPolicy(anchors=pki.anchors(*anchors)) if anchors else None
    found = list(findings_of(PathSubject(pki.chain(*parties), policy, pki.NOW)))
    assert [(one.rule, one.severity) for one in found] == [("no-path-to-root", "error")] * (what is not None)
    assert what is None or what in found[0].what


# a whole image, and the recipe of it


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("product")
    write_demo_pki(str(folder / "pki"), NOW - 3652 * DAY + DAY)
    (folder / "sys.yaml").write_text("hostname: main\npersist_files: [/etc/x]\nsysctl: [vm.swappiness=10]\n")
    tree: Tree = {
        "a/m.py": b"x = 1\n",
        "a/__pycache__/m.cpython-311.pyc": (3495).to_bytes(2, "little") + b"\r\n" + b"\0" * 12 + b"code" * 100,
        "a/n.py": b"y = 1\n",
        "a/__pycache__/n.cpython-311.pyc": (3495).to_bytes(2, "little") + b"\r\n\1" + b"\0" * 11 + b"code" * 100,
        "a/tiny.py": b"",
        "a/__pycache__/tiny.cpython-311.pyc": (3495).to_bytes(2, "little") + b"\r\n" + b"\0" * 12,
        "/".join(["d"] * 36): b"deep",
        "bin/su": (b"su", 0o4755),
        "open": (b"open", 0o666),
        "bin/sh": "dash",
        "bin/dash": elf(183) * 2000,
    }
    build(
        folder / "new",
        tree,
        payloads=[{"ecu": "main", "rootfs": "main", "release-keys": ["prd"], "sys-config": "../sys.yaml"}],
        sign={
            "certificate": "../pki/sign.pem",
            "chain": ["../pki/intermediate.pem"],
            "key": {"file": "../pki/sign.key"},
        },
    )
    build(folder / "base", {"bin/su": (b"su", 0o755)})
    return folder


COMMON = [
    ("certificate-expires", 2),
    ("deep-tree", 1),
    ("ignored-sys-config", 1),
    ("incomplete-rootfs", 1),
    ("no-dev-payload", 1),
    ("other-architecture", 1),
    ("loses-write", 1),
    ("stale-pyc", 2),
]
AGAINST_BASE = [("new-setuid", 1), ("new-world-writable", 1)]


def counts(findings: list[Finding]) -> list[tuple[str, int]]:
    found = [finding.rule for finding in findings]
    return [(rule, found.count(rule)) for rule in sorted(set(found))]


def test_an_image(product: Path) -> None:
    with open_image(product / "new/image.zip") as image, open_image(product / "base/image.zip") as base:
        assert counts(list(lint_image(image, NOW))) == sorted(COMMON)
        assert counts(list(lint_image(image, NOW, base))) == sorted(COMMON + AGAINST_BASE)
        stale = [f.where for f in lint_image(image, NOW) if f.rule == "stale-pyc"]
        assert stale == [f"main/prd: /a/__pycache__/{name}.cpython-311.pyc" for name in ("m", "tiny")]
        assert "future-time" in {finding.rule for finding in lint_image(image, 0)}


def test_its_recipe_says_the_same(product: Path) -> None:
    recipe = load_recipe(product / "new/recipe.yaml")
    with open_image(product / "base/image.zip") as base:
        assert counts(list(lint_recipe(recipe, workspace(product), base))) == sorted(COMMON + AGAINST_BASE)


@pytest.mark.parametrize(("policy", "found"), [("error", 1), ("warn", 1), ("skip", 0)])
def test_what_the_format_cannot_hold(tmp_path: Path, policy: str, found: int) -> None:
    recipe = load_recipe(write_recipe(tmp_path, {"etc/a": b"a"}, rootfs={"unsupported": policy}))
    os.mkfifo(tmp_path / "rootfs/pipe")
    assert counts(list(lint_recipe(recipe, workspace(tmp_path)))) == [("unsupported-entry", 1)] * found


@pytest.mark.parametrize(
    ("chain", "trust", "found"),
    [
        (["../pki/intermediate.pem"], "root-ca.pem", 0),
        ([], None, 1),
        ([], "root-ca.pem", 1),
        (["../pki/intermediate.pem"], "other/root-ca.pem", 1),
    ],
)
def test_what_a_recipe_signs_with(chain: list[str], trust: str | None, found: int, tmp_path: Path) -> None:
    write_demo_pki(str(tmp_path / "pki"), NOW)
    write_demo_pki(str(tmp_path / "pki/other"), NOW)
    sign = {"certificate": "../pki/sign.pem", "chain": chain, "key": "external"}
    verify = {"verify": {"trust": [f"../pki/{trust}"]}} if trust else {}
    recipe = load_recipe(write_recipe(tmp_path / "recipe", {"etc/a": b"a"}, sign=sign, **verify))
    assert counts(list(lint_recipe(recipe, workspace(tmp_path)))) == [("no-path-to-root", 1)] * found


def test_notes_fail_only_if_asked(product: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(product / "new/image.zip")
    others = [word for rule, _ in COMMON if rule != "stale-pyc" for word in ("--ignore", rule)]
    assert main(["lint", image, *others]) == 0
    assert "2 findings; notes only, which fail with --strict; silence" in capsys.readouterr().err
    assert main(["lint", image, *others, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], {each["severity"] for each in found["findings"]}) == (True, {"note"})
    assert main(["lint", image, *others, "--strict", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


def test_command(product: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(product)
    for subject in ("new/image.zip", "new/recipe.yaml"):
        assert main(["lint", subject, "--base", "base/image.zip", "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        ids = {finding["rule"] for finding in found["findings"]}
        assert {"stale-pyc", "new-setuid"} <= ids
        assert all(finding["reason"] and finding["hint"] for finding in found["findings"])
        assert (
            main(["lint", subject, "--base", "base/image.zip", *(word for rule in ids for word in ("--ignore", rule))])
            == 0
        )
        assert capsys.readouterr().out == ""
    assert main(["lint", "new/image.zip"]) == 1
    assert "silence a rule with --ignore" in capsys.readouterr().err


def test_equal_findings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = "/".join(["d"] * 36)
    image = build(tmp_path, {f"{deep}/{n:02}": b"" for n in range(20)})
    assert main(["lint", str(image)]) == 1
    out = capsys.readouterr().out
    assert "deep-tree (21)" in out
    (line,) = (line for line in out.splitlines() if "main/dev" in line and "times, such as" in line)
    assert re.fullmatch(r"  - .+: \d+ times, such as main/dev: \S+ and main/dev: \S+; --json lists all", line)
    assert "and 11 more" not in out


def test_a_long_list_of_others_is_cut() -> None:
    found = [Finding(f"/{number}", f"what {number}", rule="deep-tree") for number in range(12)]
    lines = list(_lint_lines([*found, found[0]]))
    assert lines[3] == "  - what 0: 2 times, such as /0 and /0; --json lists all"
    assert lines[4] == "  - /1: what 1"
    assert lines[-1] == "  - and 2 more: see --json"
    assert len(lines) == 3 + 10 + 1


def test_rules_that_are_none_are_refused() -> None:
    check_ignored("deep-tree")
    with pytest.raises(InputError, match=r"no such rule.*observed deep-three, expected .*deep-tree"):
        check_ignored("deep-three")


def test_a_finding_prints_on_one_line() -> None:
    found = Finding("main: /a\nb", "deep", severity="warning", rule="deep-tree")
    assert str(found) == r"warning: main: /a\nb: deep [deep-tree]"
    assert all(rule.doc and rule.hint for rule in rules_of("lint").values())
