"""The repository: what a wheel and a source archive hold, what is pinned, and that files are short."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHON_FILES = sorted(
    path for folder in ("otabuild", "tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    limit = 400 if path.is_relative_to(ROOT / "otabuild") else 800
    assert len(path.read_text(encoding="utf-8").splitlines()) < limit


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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source archive."""
    pytest.importorskip("hatchling", reason="only a build has it: pip install hatchling")
    copy, out = tmp_path_factory.mktemp("copy") / "otabuild", tmp_path_factory.mktemp("out")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out], cwd=copy, check=True, capture_output=True)
    return out


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert all(name.startswith("otabuild/") for name in inside)
    assert {"otabuild/py.typed", "otabuild/recipe/starter.yaml", "otabuild/cli.py"} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_archive_holds_what_the_tests_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "Makefile",
        "README.md",
        "constraints.txt",
        "dodo.py",
        "pyproject.toml",
        "recipes/demo.yaml",
        "tools/demo.py",
    }
    assert needed | {"tests/test_layers.py", "docs/architecture.md", "LICENSE", "noxfile.py"} <= names
    assert not [name for name in names if name.startswith(("build/", "dist/", ".venv"))]
