"""The tamper sweep: exactly the named rules find each case and tell it with its facts, and deploy refuses it if due."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otabuild.findings import RULES, rules_of
from tests.image import forge, worlds
from tests.verification import cases
from tests.verification.cases_notes import NOTES
from tests.verification.facts import GOLDEN, facts
from tests.verification.tampering import without_rule

FACTS = json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("name", cases.ALL)
def test_case_is_refused(name: str, tmp_path: Path) -> None:
    case = cases.ALL[name]
    path = forge.forge(**case.mutations).artifact(tmp_path / "image.zip")
    assert worlds.errors_of(path) == case.rules
    assert facts(path) == FACTS[name]
    (tmp_path / "out").mkdir()
    assert worlds.deploy_error(path, tmp_path / "out" / "tree.tar") == case.deploy


@pytest.mark.parametrize("rule", NOTES)
def test_what_is_only_noted_is_valid_unless_notes_count(rule: str, tmp_path: Path) -> None:
    path = forge.forge(**NOTES[rule]).artifact(tmp_path / "image.zip")
    report = worlds.verified(path)
    assert {(finding.rule, finding.severity) for finding in report.findings} == {(rule, "note")}
    assert facts(path) == FACTS[rule]
    assert report.ok
    assert not worlds.verified(path, strict=True).ok
    assert worlds.deploy_error(path, tmp_path / "tree.tar") is None


def _isolating() -> dict[str, str]:
    """Return, for each rule, a case that only this rule finds."""
    found: dict[str, str] = {}
    for name, case in cases.ALL.items():
        if len(case.rules) == 1:
            found.setdefault(next(iter(case.rules)), name)
    return found


@pytest.mark.parametrize("rule", [rule.id for rule in rules_of("verify").values() if rule.severity == "error"])
def test_rule_has_an_input_that_only_it_refuses(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _isolating().get(rule)
    if name is None:
        assert "Kept" in RULES[rule].doc, "no case isolates this rule, and it does not say why it is kept"
        return
    path = forge.forge(**cases.ALL[name].mutations).artifact(tmp_path / "image.zip")
    assert worlds.errors_of(path) == {rule}
    without_rule(monkeypatch, rule)
    assert worlds.errors_of(path) == set()
