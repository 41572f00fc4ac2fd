"""Runs the steps of a recipe without a task runner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otabuild.errors import OtabuildError
from otabuild.pipeline.step import NOT_BUILT, Step


class Done(NamedTuple):
    """The outcome of a step: why it ran (empty if it did not), its counts, and how long it took."""

    name: str
    reasons: tuple[str, ...]
    results: Any
    counts: Mapping[str, Any]
    seconds: float

    def to_value(self) -> dict[str, Any]:
        """Return the step in the form of the build report."""
        return {
            "step": self.name,
            "ran-because": self.reasons,
            "seconds": round(self.seconds, 3),
            **self.counts,
        }


class Planned(NamedTuple):
    """A step and why it would run; empty if it would not."""

    name: str
    reasons: tuple[str, ...]


def run_steps(
    steps: Iterable[Step[Any, Any]], clock: Callable[[], float], tell: Callable[[str], None]
) -> list[Done]:
    """Run every step that has a reason to run. Callers hold the lock of the work directory.

    Args:
        steps: the steps in execution order.
        clock: returns seconds since any point in time.
        tell: called with a text for each step that runs, and why.

    Raises:
        OtabuildError: a step failed; earlier steps are complete.
    """
    done = []
    for step in steps:
        started = clock()
        step.show_start()
        decision = step.decide()
        if decision.reasons:
            tell(f"{step.name}: {'; '.join(decision.reasons)}")
            results, counts, *_ = step.execute(decision)
        else:
            results, counts = step.results(), {}
        done.append(Done(step.name, decision.reasons, results, counts, clock() - started))
    return done


def plan_steps(steps: Sequence[Step[Any, Any]]) -> list[Planned]:
    """Return what would run and why; change nothing."""
    planned: list[Planned] = []
    running: set[str] = set()
    for step in steps:
        waits_for = sorted(running.intersection(step.after))
        try:
            reasons = step.decide().reasons
        except OtabuildError:
            if not waits_for:
                raise
            reasons = ()  # its input does not exist yet, or the preflight will refuse it
        if waits_for and not reasons:
            reasons = (
                f"if {' or '.join(waits_for)} produces a different result"
                if step.was_built
                else NOT_BUILT,
            )
        if reasons:
            running.add(step.name)
        planned.append(Planned(step.name, reasons))
    return planned
