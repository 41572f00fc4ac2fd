"""What the findings about each tamper case say: the rule, the place, what is wrong, and the facts.

`python -m tests.verification.facts` makes the golden file anew; read its diff before you commit it.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from otabuild.errors import Finding, OtabuildError
from otabuild.findings import rules_of
from tests.image import forge, worlds
from tests.verification import cases
from tests.verification.cases_notes import NOTES

GOLDEN = Path(__file__).with_name("golden") / "findings.json"
_OF_LIBRARIES = {"blobs.count", "config.file-table"}
"""Rules whose facts are sizes of compressed blobs, which depend on the versions of zstd and SQLite, as digests do."""


def facts(path: Path) -> list[list[str | None]]:
    """Return rule, place, what is wrong, and what was observed and expected, for each finding about an image.

    Of the findings that are not those of a rule, but errors of a step of verification, it is only rule and place.
    """
    try:
        findings = worlds.verified(path).findings
    except OtabuildError:
        return []
    assert all(finding.what for finding in findings), "each says in words what is wrong"
    return [_facts(finding) for finding in findings]


def _facts(finding: Finding) -> list[str | None]:
    found: list[object] = [finding.where]
    if finding.rule in rules_of("verify"):
        found += [finding.what, finding.observed, finding.expected]
    numbers = "|[0-9]+" if finding.rule in _OF_LIBRARIES else ""
    pattern = re.compile(f"[0-9a-f]{{64}}{numbers}")
    return [finding.rule, *(None if each is None else pattern.sub("*", str(each)) for each in found)]


def main() -> None:
    """Write the golden file: one line for each case."""
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for name, mutations in [*((case.name, case.mutations) for case in cases.ALL.values()), *NOTES.items()]:
            path = forge.forge(**mutations).artifact(Path(folder) / "image.zip")
            lines.append(f"{json.dumps(name)}: {json.dumps(facts(path))}")
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
