"""Run the steps of a recipe without a task runner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from otabuild.pipeline.step import Step


class Done(NamedTuple):
    """What became of a step: why it ran (empty where it did not), and what it counted."""

    name: str
    reasons: tuple[str, ...]
    counts: dict[str, Any]


def run_steps(steps: Iterable[Step], tell: Callable[[str], None] = lambda _text: None) -> list[Done]:
    """Run every step that has a reason to; hold the lock of the work directory.

    Raises:
        OtabuildError: a step failed; those before it are done.
    """
    done = []
    for step in steps:
        reasons, key = step.decide()
        counts = {}
        if reasons:
            tell(f"{step.name}: {'; '.join(reasons)}")
            counts = step.execute(key).counts
        done.append(Done(step.name, reasons, counts))
    return done
