"""The build report: JSON beside the artifact that says what a run did and why."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from otabuild.assembly.content_store import Counts
from otabuild.format.sizes import counted, human_size
from otabuild.pipeline.run import Done
from otabuild.storage.compress import library_version
from otabuild.storage.files import write_file
from otabuild.version import __version__


def versions(libraries: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of otabuild, of all that may affect the bytes of an image, of libraries.

    Args:
        libraries: names of packages that are told as well.
    """
    found = {
        "otabuild": __version__,
        "python": platform.python_version(),
        "libzstd": library_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for name in libraries:
        with suppress(PackageNotFoundError):  # a frozen program has no metadata of its libraries
            found[name] = version(name)
    return found


class Made(NamedTuple):
    """What a run made.

    Attributes:
        artifact: its path, or None if the recipe writes none.
        sha256: of the artifact, as hex, or None.
        index_json: the SHA-256 of index.json, as hex; in a store it is the digest of the release.
    """

    artifact: str | None
    sha256: str | None
    index_json: str

    @property
    def size(self) -> int | None:
        """The bytes of the artifact, or None."""
        return None if self.artifact is None else os.path.getsize(self.artifact)

    def to_value(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "artifact": self.artifact,
            "sha256": self.sha256,
            "size": self.size,
            "index-json": self.index_json,
        }

    def describe(self) -> str:
        """Describe it for a person: path, size, digest."""
        if self.artifact is None:
            return f"ready to be published  index.json sha256:{self.index_json}"
        return f"{self.artifact}  {human_size(self.size or 0)}  sha256:{self.sha256}"


def build_report(made: Made, done: Iterable[Done]) -> dict[str, Any]:
    """Return what a run did: what it made, each step with its reasons and counts, totals, versions.

    Totals of steps that did not run are 0: a run with nothing to do did not hash any file.
    """
    steps = list(done)
    totals = dict.fromkeys([*Counts().to_value(), "base-requests", "base-bytes"], 0)
    for step in steps:
        for name in totals:
            totals[name] += step.counts.get(name, 0)
    return {
        **made.to_value(),
        "seconds": round(sum(step.seconds for step in steps), 3),
        "totals": totals,
        "steps": [step.to_value() for step in steps],
        "versions": versions(),
    }


def work_line(done: Iterable[Done]) -> str:
    """Say in one line what a run did: the seconds of each step, and what needed no repetition."""
    steps = list(done)
    ran = [step for step in steps if step.reasons]
    if not ran:
        return f"nothing to do: all {counted(len(steps), 'step')} up to date"
    seconds = ", ".join(f"{step.name.partition(':')[0]} {step.seconds:.1f} s" for step in ran)
    reused = []
    if len(ran) < len(steps):
        reused.append(f"{len(steps) - len(ran)} of {counted(len(steps), 'step')} up to date")
    for count, noun in (
        ("contents-reused", "stored content"),
        ("contents-of-base", "content of the base"),
    ):
        if number := sum(step.counts.get(count, 0) for step in ran):
            reused.append(f"{counted(number, noun, noun.replace('content', 'contents', 1))} reused")
    if fetched := sum(step.counts.get("base-bytes", 0) for step in ran):
        reused.append(f"{human_size(fetched)} fetched from the base")
    return "; ".join([seconds, *reused])


def report_path(stem: str) -> str:
    """Return the path of the report of an image whose documents have names that begin like this."""
    return f"{stem}.report.json"


def write_report(path: str, made: Made, done: Iterable[Done]) -> None:
    """Write the report of the last run, even if that run had nothing to do."""
    report = json.dumps(build_report(made, done), indent=2)
    write_file(path, report.encode() + b"\n")
