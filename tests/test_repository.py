"""The repository: versions are pinned, and files are short."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHON_FILES = sorted(
    path for folder in ("otabuild", "tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


def test_files_are_short() -> None:
    limits = {path: 480 if path.is_relative_to(ROOT / "otabuild") else 800 for path in PYTHON_FILES}
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in PYTHON_FILES}
    assert {str(path): lengths[path] for path in PYTHON_FILES if lengths[path] >= limits[path]} == {}


def test_every_dependency_is_pinned() -> None:
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in _constraints()}
    groups = PROJECT["dependency-groups"].values()
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(entry for group in groups for entry in group if isinstance(entry, str)),
    ]
    names = {re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in wanted}
    assert names - pinned == set()


def test_pins_are_exact() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line) for line in _constraints())


def _constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_every_dependency_has_a_lowest_version() -> None:
    assert all(">=" in requirement for requirement in PROJECT["project"]["dependencies"])


def test_no_other_module_is_named_doit() -> None:
    assert not [path for path in PYTHON_FILES if path.name == "doit.py"]


def test_only_helpers_are_imported() -> None:
    imports = re.compile(r"^from tests[\w.]*\.test_\w+ import|^from tests[\w.]* import test_", re.MULTILINE)
    assert [str(path) for path in PYTHON_FILES if imports.search(path.read_text(encoding="utf-8"))] == []
