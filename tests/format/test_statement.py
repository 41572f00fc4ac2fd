"""Statements: the fields that other programs read, and no others taken for them."""

from __future__ import annotations

from typing import Any

import pytest

from otabuild.errors import FormatError
from otabuild.format.statement import PROVENANCE, Digests, Statement, Subject

VALUE: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "index.json", "digest": {"sha256": "0a" * 32}}],
    "predicateType": PROVENANCE,
    "predicate": {"x": 1},
}


def test_a_statement_and_its_value() -> None:
    subject = Subject(name="index.json", digest=Digests(sha256="0a" * 32))
    assert Statement(subject=(subject,), predicate_type=PROVENANCE, predicate={"x": 1}).to_value() == VALUE
    assert Statement.from_value(VALUE, "s").to_value() == VALUE


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": [{"name": "index.json", "digest": {"sha256": "0A" * 32}}]},
        {"subject": [{"name": "index.json", "digest": {"sha256": "0a" * 32 + "\n"}}]},
        {"subject": [{"name": "index.json", "digest": {}}]},
        {"subject": [{"name": 1, "digest": {"sha256": "0a" * 32}}]},
        {"predicateType": 1},
        {"predicate": []},
    ],
)
def test_what_is_no_statement(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Statement.from_value(VALUE | changes, "s")
    for key in VALUE:
        with pytest.raises(FormatError, match=f"{key}: field required"):
            Statement.from_value({name: value for name, value in VALUE.items() if name != key}, "s")
