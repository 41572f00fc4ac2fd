"""Every rule of the registry matters: a case that it finds is not found, or found by less, without it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from otabuild.findings import RULES, findings_of, rules_of
from otabuild.format.index import Index
from otabuild.format.strict_yaml import parse_yaml
from otabuild.format.sys_config import SysConfig
from otabuild.lint.device_rules import FstabSubject, MemorySubject, RunningSystem, SystemSubject, WholeSubject
from otabuild.lint.lint import (
    CertificatesSubject,
    EntriesSubject,
    LeftOutSubject,
    PathSubject,
    ReleaseKeysSubject,
    Row,
    SysConfigKeysSubject,
    TimeSubject,
    TreeSubject,
    UmaskSubject,
)
from otabuild.recipe.checks import RecipeSubject
from otabuild.signing.chain import VERIFICATION, ChainSubject
from tests import pki
from tests.image import forge, worlds
from tests.verification import cases
from tests.verification.cases_notes import NOTES
from tests.verification.tampering import without_rule

FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


def _tree(rows: Mapping[str, Row], base: Mapping[str, int] | None = None, architecture: str = "") -> TreeSubject:
    return TreeSubject("main", rows, base, architecture)


def _rows(*rows: Row) -> dict[str, Row]:
    return {row.path: row for row in rows}


def _elf() -> bytes:
    return b"\x7fELF\2\1".ljust(18, b"\0") + (183).to_bytes(2, "little")


def _chain(*parties: pki.Party, at: int = pki.NOW) -> ChainSubject:
    return ChainSubject(pki.chain(*parties), {VERIFICATION: at}, strict_eku=False)


def _recipe(text: str) -> RecipeSubject:
    return RecipeSubject(parse_yaml(text.encode(), "r.yaml")[0], "r.yaml")


def _index_with_an_unknown_entry() -> Index:
    unknown = {"mediaType": "application/other", "digest": forge.digest_text(b"x"), "size": 1}
    forged = forge.forge(index=lambda value: value["manifests"].append(unknown))
    return Index.parse(dict(forged.files)["index.json"])


def _system(version: str) -> RunningSystem:
    return RunningSystem("Debian", version, frozenset(), None)


_SIGNER, _AUTHORITY = pki.signer(), pki.intermediate()
SUBJECTS: Mapping[str, Callable[[], object]] = {
    "unsupported-entry": lambda: LeftOutSubject("main", ("/pipe (fifo)",)),
    "other-architecture": lambda: _tree(_rows(Row("/bin/sh", FILE, _elf)), architecture="x86_64"),
    "stale-pyc": lambda: _tree(_rows(Row("/m.py", FILE), Row("/m.pyc", FILE, lambda: bytes(16)))),
    "crowded-directory": lambda: _tree(_rows(*(Row(f"/d/{n}", FILE) for n in range(8193)))),
    "deep-tree": lambda: _tree(_rows(Row("/d" * 36, FILE))),
    "no-dev-payload": lambda: ReleaseKeysSubject("image", frozenset({"prd"})),
    "loses-write": lambda: UmaskSubject("main", (("/a", FILE | 0o022, None),)),
    "refused-index": lambda: EntriesSubject("image", _index_with_an_unknown_entry()),
    "future-time": lambda: TimeSubject("index.jwt", 2, 1),
    "ignored-sys-config": lambda: SysConfigKeysSubject("main", SysConfig(hostname="main", sysctl=("a=1",))),
    "certificate-expires": lambda: CertificatesSubject(pki.chain(), pki.NOW + 100 * pki.YEAR),
    "no-path-to-root": lambda: PathSubject(pki.chain(_SIGNER), None, pki.NOW),
    "new-setuid": lambda: _tree(_rows(Row("/su", stat.S_IFREG | 0o4755)), {}),
    "new-world-writable": lambda: _tree(_rows(Row("/open", stat.S_IFREG | 0o666)), {}),
    "client-memory": lambda: MemorySubject("main", {"file table": (1, 700_000_000)}, 0),
    "bsp-version": lambda: SystemSubject("main", _system("12"), True, None),
    "older-system": lambda: SystemSubject("main", _system("11"), False, _system("12")),
    "fstab-device": lambda: FstabSubject("main", b"/dev/sda1 / ext4 defaults 0 1\n"),
    "incomplete-rootfs": lambda: WholeSubject("main", False),
    "chain.length": lambda: _chain(*[_SIGNER] * 17),
    "chain.members": lambda: _chain(_SIGNER, _SIGNER),
    "chain.form": lambda: _chain(pki.issue("weak", _AUTHORITY, digest=hashes.SHA224()), _AUTHORITY),
    "chain.signer": lambda: _chain(_AUTHORITY),
    "chain.authorities": lambda: _chain(_SIGNER, pki.issue("no CA", pki.root())),
    "chain.order": lambda: _chain(_SIGNER, pki.issue("another CA", pki.root(), ca=True)),
    "chain.dates": lambda: _chain(_SIGNER, _AUTHORITY, at=pki.NOW + 100 * pki.YEAR),
    "recipe.keys": lambda: _recipe("1: x\n"),
    "recipe.payloads": lambda: _recipe("rootfs: {main: x}\npayloads: [{ecu: a, rootfs: mian}]\n"),
    "recipe.entries": lambda: _recipe(f"payloads: [{', '.join('{ecu: a, rootfs: main}' for _ in range(4097))}]\n"),
    "recipe.unused": lambda: _recipe("rootfs: {main: x, more: y}\npayloads: [{ecu: a, rootfs: main}]\n"),
    "recipe.annotations": lambda: _recipe("annotations: {plattform: x}\n"),
    "recipe.set-rules": lambda: _recipe("rootfs: {main: {set: [{path: /x}]}}\n"),
    "recipe.passphrase": lambda: _recipe("sign: {key: external, passphrase: prompt}\n"),
    "recipe.unsigned": lambda: _recipe("sign: {key: external}\nverify: {unsigned: true}\n"),
    "recipe.legacy": lambda: _recipe("otaclient-package: {legacy: true}\n"),
    "recipe.provenance": lambda: _recipe("provenance: true\n"),
    "recipe.publish": lambda: _recipe("publish: {store: s3://b, name: x}\n"),
    "recipe.stdin": lambda: _recipe("rootfs: {a: {source: {tar: '-'}}, b: {source: {tar: '-'}}}\n"),
}
"""A subject for each rule of lint, of chains and of recipes."""


def test_every_rule_has_a_case() -> None:
    notes = {rule.id for rule in rules_of("verify").values() if rule.severity == "note"}
    assert NOTES.keys() == notes
    others = {*rules_of("lint"), *rules_of("chain"), *rules_of("recipe")}
    assert SUBJECTS.keys() == others
    errors = {rule.id for rule in rules_of("verify").values() if rule.severity == "error"}
    assert errors <= {rule for case in cases.ALL.values() for rule in case.rules} | {"container.place"}
    assert {*notes, *others, *errors} == RULES.keys()


@pytest.mark.parametrize("rule", NOTES)
def test_a_note_comes_from_its_rule(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forge.forge(**NOTES[rule]).artifact(tmp_path / "image.zip")
    assert rule in {found.rule for found in worlds.verified(path).findings}
    assert worlds.verified(path).ok
    without_rule(monkeypatch, rule)
    assert rule not in {found.rule for found in worlds.verified(path).findings}


@pytest.mark.parametrize("rule", SUBJECTS)
def test_a_finding_comes_from_its_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = SUBJECTS[rule]()
    found = [each for each in findings_of(subject) if each.rule == rule]
    assert found
    assert all(each.severity == RULES[rule].severity for each in found)
    without_rule(monkeypatch, rule)
    assert rule not in {each.rule for each in findings_of(subject)}


@pytest.mark.parametrize("rule", ["table.resource", "resources.row", "resources.leaves"])
def test_a_rule_that_others_repeat_names_the_error(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in cases.ALL.values() if rule in case.rules)
    path = forge.forge(**case.mutations).artifact(tmp_path / "image.zip")
    assert worlds.errors_of(path) == case.rules
    without_rule(monkeypatch, rule)
    assert worlds.errors_of(path) == case.rules - {rule}


def test_the_place_of_a_file_in_a_directory_comes_from_its_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forge.forge().directory(tmp_path / "image")
    (path / "notes.txt").write_text("not of an image")
    assert "container.place" in worlds.errors_of(path)
    without_rule(monkeypatch, "container.place")
    assert "container.place" not in worlds.errors_of(path)
