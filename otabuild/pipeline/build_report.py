"""The build report: JSON beside the artifact that says what a run did and why."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable
from typing import Any

from otabuild.assembly.content_store import Counts
from otabuild.format.sizes import counted, human_size
from otabuild.pipeline.run import Done
from otabuild.storage.compress import library_version
from otabuild.storage.files import write_file
from otabuild.version import __version__


def versions() -> dict[str, str]:
    """Return the versions of otabuild and of everything that may affect the bytes of an image."""
    return {
        "otabuild": __version__,
        "python": platform.python_version(),
        "libzstd": library_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def build_report(artifact: str, sha256: str, done: Iterable[Done]) -> dict[str, Any]:
    """Return what a run did: its artifact, each step with its reasons and counts, their totals, the versions.

    Totals of steps that did not run are 0: a run with nothing to do did not hash any file.
    """
    steps = list(done)
    totals = dict.fromkeys(Counts().to_value(), 0)
    for step in steps:
        for name in totals:
            totals[name] += step.counts.get(name, 0)
    return {
        "artifact": artifact,
        "sha256": sha256,
        "size": os.path.getsize(artifact),
        "seconds": round(sum(step.seconds for step in steps), 3),
        "totals": totals,
        "steps": [step.to_value() for step in steps],
        "versions": versions(),
    }


def artifact_line(artifact: str, sha256: str) -> str:
    """Describe an artifact for a person: path, size, digest."""
    return f"{artifact}  {human_size(os.path.getsize(artifact))}  sha256:{sha256}"


def work_line(done: Iterable[Done]) -> str:
    """Say in one line what a run did: the seconds of each step that ran, and what it did not have to do again."""
    steps = list(done)
    ran = [step for step in steps if step.reasons]
    if not ran:
        return f"nothing to do: all {counted(len(steps), 'step')} up to date"
    seconds = ", ".join(f"{step.name.partition(':')[0]} {step.seconds:.1f} s" for step in ran)
    reused = [f"{len(steps) - len(ran)} of {counted(len(steps), 'step')} up to date"] if len(ran) < len(steps) else []
    for count, noun in (("contents-reused", "stored content"), ("contents-of-base", "content of the base")):
        if number := sum(step.counts.get(count, 0) for step in ran):
            reused.append(f"{counted(number, noun, noun.replace('content', 'contents', 1))} reused")
    return "; ".join([seconds, *reused])


def report_path(artifact: str) -> str:
    """Return the path of the report of an artifact."""
    return f"{artifact}.report.json"


def write_report(artifact: str, sha256: str, done: Iterable[Done]) -> None:
    """Write the report of the last run beside the artifact, even if that run had nothing to do."""
    report = json.dumps(build_report(artifact, sha256, done), indent=2)
    write_file(report_path(artifact), report.encode() + b"\n")
