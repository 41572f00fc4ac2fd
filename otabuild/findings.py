"""The registry of all rules: of verify, of lint, of recipes and of certificate chains.

A rule checks one kind of subject and reports what is wrong with it. It does not know other rules,
or the origin of its subject: it turns rows and documents into findings. Every rule is registered
once, where its check is defined.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from otabuild.errors import Finding, FormatError, OtabuildError, Severity

Area = Literal["verify", "lint", "recipe", "chain"]
SHOWN = 20
"""The maximum number of findings reported per rule of verify; one more says if others exist."""
_LONGEST_FACT = 200

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        id: its name; lint silences it by this.
        area: what it is part of.
        subject: the kind of subject that it checks.
        severity: of its findings.
        error: the class of error that its findings become where the first of them stops the work.
        hint: what to do about any of its findings.
        check: yields what is wrong with a subject.
    """

    id: str
    area: Area
    subject: type
    severity: Severity
    error: type[OtabuildError]
    hint: str
    check: Callable[[Any], Iterable[Finding]]

    @property
    def doc(self) -> str:
        """What the rule requires, and the section of the format; for lint, why it matters."""
        return inspect.getdoc(self.check) or ""

    def findings(self, subject: object) -> Iterator[Finding]:
        """Yield what is wrong with a subject."""
        for found in self.check(subject):
            yield replace(found, rule=self.id, severity=self.severity, hint=found.hint or self.hint)


RULES: dict[str, Rule] = {}
"""Every rule by its id, in the order of execution."""


def rule(
    id_: str,
    subject: type[S],
    *,
    area: Area = "verify",
    severity: Severity = "error",
    error: type[OtabuildError] = FormatError,
    hint: str = "",
) -> Callable[[Callable[[S], Iterable[Finding]]], Callable[[S], Iterable[Finding]]]:
    """Register a check as a rule about one kind of subject."""

    def register(check: Callable[[S], Iterable[Finding]]) -> Callable[[S], Iterable[Finding]]:
        if id_ in RULES:
            raise AssertionError(f"two rules named {id_}")
        RULES[id_] = Rule(id_, area, subject, severity, error, hint, check)
        return check

    return register


def rules_of(area: Area) -> dict[str, Rule]:
    """Return the rules of an area by their ids, in the order of execution."""
    return {id_: each for id_, each in RULES.items() if each.area == area}


def _rules_about(subject: object) -> list[Rule]:
    return [each for each in RULES.values() if each.subject is type(subject)]


def findings_of(subject: object) -> Iterator[Finding]:
    """Yield every finding of all rules about this kind of subject."""
    for each in _rules_about(subject):
        yield from each.findings(subject)


def run_rules(subject: object) -> Iterator[Finding]:
    """Yield the findings of all rules about a kind of subject.

    At most 20 per rule, then that there are more.

    If a check raises an OtabuildError, the error is its finding.
    """
    for each in _rules_about(subject):
        try:
            for number, found in enumerate(each.findings(subject)):
                if number == SHOWN:
                    yield Finding(
                        found.where, "and more of the same", severity=each.severity, rule=each.id
                    )
                    break
                yield replace(
                    found, observed=_shortened(found.observed), expected=_shortened(found.expected)
                )
        except OtabuildError as error:
            yield Finding.of_error(each.id, error)


def _shortened(fact: object) -> str | None:
    return None if fact is None else str(fact)[:_LONGEST_FACT]


def errors_of(subject: object) -> Iterator[OtabuildError]:
    """Yield the errors that all rules about a subject find, each of its rule's class."""
    for each in _rules_about(subject):
        if each.severity == "error":
            for found in each.findings(subject):
                yield found.error(each.error)


def demand(subject: object) -> None:
    """Run the rules about a subject, and raise the first error.

    Raises:
        OtabuildError: the rule determines the class, or its check raised it.
    """
    for error in errors_of(subject):
        raise error
