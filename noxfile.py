"""The chores of the project, on the required Pythons: `nox`, `nox -s tests-3.12`, `nox -s lint`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types", "minimums", "docs", "examples"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
os.environ["PYTHONUTF8"] = "1"  # as in the Makefile
_PINNED = ("--constraint", "constraints.txt")


def _install(session: nox.Session, group: str) -> None:
    """Install the project and a dependency group at pinned versions, with a pip that knows
    groups.
    """
    session.install(*_PINNED, "pip")
    session.install(*_PINNED, "--editable", ".", "--group", group)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests."""
    _install(session, "test")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Break the core in every small way, and print what no test noticed."""
    _install(session, "mutants")
    session.run("python", "-m", "tools.mutants", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    _install(session, "types")
    session.run("mypy")


@nox.session(python=PYTHONS[0])
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    lowest = Path(session.create_tmp()) / "lowest.txt"
    bounds = [
        re.match(r"([\w-]+)>=([\w.]+)", requirement) for requirement in project["dependencies"]
    ]
    lowest.write_text("".join(f"{bound[1]}=={bound[2]}\n" for bound in bounds if bound))
    session.install(*_PINNED, "pip")
    session.install("--constraint", str(lowest), "--editable", ".", "--group", "test")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, follow links, run its commands, and check that generated pages are new."""
    _install(session, "dev")
    session.run("pytest", "tests/test_docs.py", "tests/docs", *session.posargs)
    session.run("zensical", "build", "--strict", "--clean")


@nox.session
def examples(session: nox.Session) -> None:
    """Run the demo, and every example as a user would."""
    _install(session, "dev")
    session.run("python", "-m", "tools.demo")
    session.run("pytest", "tests/examples", *session.posargs)
