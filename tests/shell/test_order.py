"""Both streams in one log, as a CI job keeps it: each line stands where it was said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell.projects import Project

CASES: dict[str, tuple[list[str], list[str]]] = {
    "init": (
        ["otabuild", "init", "recipes/new.yaml"],
        ["wrote recipes/new.yaml", "wrote recipes/recipe.schema", "otabuild build"],
    ),
    "pki": (["otabuild", "pki", "demo", "certificates"], ["certificates/", "these certificates are for tests"]),
    "lint": (["otabuild", "lint", "recipes/vehicle.yaml"], ["no-dev-payload", "silence a rule with --ignore"]),
    "build": (["otabuild", "build", "recipes/vehicle.yaml"], ["build:vehicle", "dist/vehicle.zip"]),
    "error": (
        ["otabuild", "build", "recipes/none.yaml", "--json"],
        ["error: recipes/none.yaml: no such file", "{", '"ok": false'],
    ),
    "doit": (["doit", "build"], ["said by dodo.py", "warned by dodo.py", ".  preflight:vehicle", "dist/vehicle.zip"]),
}


def logged(project: Project, command: list[str]) -> list[str]:
    """Run a command with both streams in one pipe, and return the lines of the pipe."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project.root,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize("case", CASES)
def test_lines_follow_each_other_as_they_were_said(project: Project, case: str) -> None:
    command, parts = CASES[case]
    payload = "ecu: main, rootfs: main"
    project.recipe.write_text(
        project.recipe.read_text().replace(payload, f"{payload}, release-keys: [prd]")
    )  # for lint
    dodo = project.root / "dodo.py"
    words = "import sys\nprint('said by dodo.py')\nprint('warned by dodo.py', file=sys.stderr)\n"
    dodo.write_text(f"{dodo.read_text()}\n{words}")
    lines = logged(project, ["-m", *command])
    rest = iter(lines)
    for part in parts:
        assert any(part in line for line in rest), f"{part!r} is missing or too early in:\n" + "\n".join(lines)


def test_bytes_stand_before_what_follows(project: Project, tmp_path: Path) -> None:
    """The content of a file goes to the stream below the text."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom otabuild import session\nfrom otabuild.commands.output import say\nsession.open_streams()\n"
        "for number in range(3):\n    print(number)\n    say(f'after {number}')\n"
    )
    assert logged(project, [str(script)]) == ["0", "after 0", "1", "after 1", "2", "after 2"]
