"""A figure, its target, and the line that shows both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import Usage

Bound = Literal["<=", ">="]
MB = 1_000_000
_HEAD = ("figure", "measured", "target", "", "from")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        name: what it measures.
        value: the value in `unit`.
        unit: empty for ratios and counts.
        target: the target value, or None.
        bound: whether the target is a maximum or a minimum.
        source: the numbers it was computed from.
    """

    name: str
    value: float
    unit: str = ""
    target: float | None = None
    bound: Bound = "<="
    source: str = ""

    @property
    def verdict(self) -> str:
        """Return PASS, MISS, or an empty text if there is no target."""
        if self.target is None:
            return ""
        kept = self.value <= self.target if self.bound == "<=" else self.value >= self.target
        return "PASS" if kept else "MISS"

    def line(self) -> str:
        """Return the figure as a row of the table."""
        target = "" if self.target is None else f"{self.bound} {_number(self.target)} {self.unit}"
        return _row(
            self.name, f"{_number(self.value)} {self.unit}", target, self.verdict, self.source
        )


def head() -> str:
    """Return the head of the table."""
    return _row(*_HEAD)


def ratio(
    name: str,
    ours: float,
    theirs: float,
    target: float | None = None,
    *,
    unit: str = "s",
    bound: Bound = "<=",
) -> Figure:
    """Return the figure `ours / theirs`; both are in `unit`."""
    return Figure(
        name, ours / theirs, "", target, bound, f"{_number(ours)} / {_number(theirs)} {unit}"
    )


def peak(name: str, usage: Usage, target: float | None = None) -> Figure:
    """Return the figure of peak memory; the target is in MB."""
    return Figure(name, usage.peak / MB, "MB", target)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def _row(name: str, value: str, target: str, verdict: str, source: str) -> str:
    return f"{name:<58} {value:>14} {target:>14}  {verdict:<5} {source}".rstrip()
