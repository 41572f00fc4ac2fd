"""Findings, and the registry of the rules that produce them.

A rule checks one kind of subject and reports what is wrong with it. It does not know other rules, or the origin of its
subject: it turns rows and documents into problems.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from otabuild.errors import FormatError, OtabuildError, printable

Severity = Literal["error", "note"]
SHOWN = 20
"""The maximum number of problems reported per rule; a note says if more exist."""

S = TypeVar("S")


class Violation(NamedTuple):
    """A violation of a rule: where, what, and the two values that should be equal."""

    where: str
    what: str
    observed: object = None
    expected: object = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of verification; `rule` is the id of the rule or check that found it."""

    rule: str
    where: str
    what: str
    observed: str | None = None
    expected: str | None = None
    severity: Severity = "error"
    hint: str | None = None

    @classmethod
    def of_error(cls, rule: str, error: OtabuildError) -> Finding:
        """Make a finding from an error that a check raised."""
        return cls(rule, error.where, error.what, error.observed, error.expected, hint=error.hint or None)

    def to_value(self) -> dict[str, str]:
        """Return the finding as plain JSON values."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        """Return the finding on one line, safe to print, and its hint on a separate line."""
        facts = [f"{n} {v}" for n, v in (("observed", self.observed), ("expected", self.expected)) if v is not None]
        tail = f" ({', '.join(facts)})" if facts else ""
        text = printable(f"{self.severity}: {self.where}: {self.what}{tail} [{self.rule}]")
        return f"{text}\n  hint: {self.hint}" if self.hint else text


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its id, its kind of subject, its severity, the error that deploy raises for it, and the check."""

    id: str
    subject: type
    severity: Severity
    error: type[OtabuildError]
    check: Callable[[Any], Iterable[Violation]]

    @property
    def doc(self) -> str:
        """What the rule requires, and the section of the format."""
        return inspect.getdoc(self.check) or ""


RULES: dict[str, Rule] = {}
"""Every rule by its id, in the order of execution."""


def rule(
    id_: str, subject: type[S], *, severity: Severity = "error", error: type[OtabuildError] = FormatError
) -> Callable[[Callable[[S], Iterable[Violation]]], Callable[[S], Iterable[Violation]]]:
    """Register a check as a rule about one kind of subject."""

    def register(check: Callable[[S], Iterable[Violation]]) -> Callable[[S], Iterable[Violation]]:
        RULES[id_] = Rule(id_, subject, severity, error, check)
        return check

    return register


def run_rules(subject: object) -> Iterator[Finding]:
    """Yield the findings of all rules about this kind of subject: at most 20 per rule, then the number of further ones.

    If a check raises an OtabuildError, the error is its finding.
    """
    for each in [found for found in RULES.values() if found.subject is type(subject)]:
        try:
            for number, problem in enumerate(each.check(subject)):
                if number == SHOWN:
                    yield Finding(each.id, problem.where, "and more of the same", severity=each.severity)
                    break
                observed, expected = (None if x is None else str(x)[:200] for x in problem[2:])
                yield Finding(each.id, problem.where, problem.what, observed, expected, each.severity)
        except OtabuildError as error:
            yield Finding.of_error(each.id, error)


def demand(subject: object) -> None:
    """Run the rules about a subject, and raise the first error.

    Raises:
        OtabuildError: the rule determines the class, or its check raised it.
    """
    for each in [found for found in RULES.values() if found.subject is type(subject) and found.severity == "error"]:
        for problem in each.check(subject):
            raise each.error(problem.what, where=problem.where, observed=problem.observed, expected=problem.expected)
