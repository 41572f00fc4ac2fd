"""The build report: what a run did and why, as JSON beside the artifact."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterable
from typing import Any

from otabuild.build.contents import Counts
from otabuild.pipeline.run import Done
from otabuild.storage.compress import library_version
from otabuild.storage.files import write_file
from otabuild.version import __version__


def versions() -> dict[str, str]:
    """The versions of otabuild and of everything that bytes of an image may depend on."""
    return {
        "otabuild": __version__,
        "python": platform.python_version(),
        "libzstd": library_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def build_report(done: Iterable[Done]) -> dict[str, Any]:
    """What a run did: each step with its reasons and counts, their totals, and the versions.

    Totals of what did not run are 0: a run that found nothing to do hashed no file.
    """
    steps = list(done)
    totals = dict.fromkeys(Counts().to_value(), 0)
    for step in steps:
        for name in totals:
            totals[name] += step.counts.get(name, 0)
    return {
        "seconds": round(sum(step.seconds for step in steps), 3),
        "totals": totals,
        "steps": [step.to_value() for step in steps],
        "versions": versions(),
    }


def report_path(artifact: str) -> str:
    """Where the report of an artifact lies."""
    return f"{artifact}.report.json"


def write_report(artifact: str, done: Iterable[Done]) -> None:
    """Write the report of a run that ended with this artifact."""
    write_file(report_path(artifact), json.dumps(build_report(done), indent=2).encode() + b"\n")
