"""Run the steps of a recipe without a task runner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from otabuild.errors import InputError
from otabuild.pipeline.step import NOT_BUILT, Results, Step


class Done(NamedTuple):
    """What became of a step: why it ran (empty where it did not), what it made, counted, and how long it took."""

    name: str
    reasons: tuple[str, ...]
    results: Results
    counts: dict[str, Any]
    seconds: float

    def to_value(self) -> dict[str, Any]:
        """The step as the build report shows it."""
        return {"step": self.name, "ran-because": self.reasons, "seconds": round(self.seconds, 3), **self.counts}


class Planned(NamedTuple):
    """A step and why it would run; empty where it would not."""

    name: str
    reasons: tuple[str, ...]


def run_steps(steps: Iterable[Step], clock: Callable[[], float], tell: Callable[[str], None]) -> list[Done]:
    """Run every step that has a reason to; hold the lock of the work directory.

    Args:
        steps: in the order in which they run.
        clock: seconds from anywhere.
        tell: told of each step that runs, and why.

    Raises:
        OtabuildError: a step failed; those before it are done.
    """
    done = []
    for step in steps:
        started = clock()
        decision = step.decide()
        if decision.reasons:
            tell(f"{step.name}: {'; '.join(decision.reasons)}")
            results, counts, *_ = step.execute(decision.key)
        else:
            results, counts = step.results(), {}
        done.append(Done(step.name, decision.reasons, results, counts, clock() - started))
    return done


def plan_steps(steps: Sequence[Step]) -> list[Planned]:
    """What would run and why; nothing is changed."""
    planned: list[Planned] = []
    running: set[str] = set()
    for step in steps:
        waits_for = sorted(running.intersection(step.after))
        try:
            reasons = step.decide().reasons
        except InputError:
            if not waits_for:
                raise
            reasons = ()  # what it needs is not there yet
        if waits_for and not reasons:
            reasons = (f"if {' or '.join(waits_for)} gives something new" if step.was_built else NOT_BUILT,)
        if reasons:
            running.add(step.name)
        planned.append(Planned(step.name, reasons))
    return planned
