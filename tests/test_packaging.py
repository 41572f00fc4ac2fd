"""The packages: the content of a wheel and a source archive, and that they install and run in an empty environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from otabuild.recipe.schema import json_schema
from otabuild.version import __version__
from tools import release

ROOT = Path(__file__).parent.parent
DATA = {
    "otabuild/py.typed",
    "otabuild/recipe.schema.json",
    "otabuild/recipe/starter.yaml",
    "otabuild/report/report.html",
    "otabuild/report/report.css",
    "otabuild/report/report.js",
}

OUTSIDE = tuple(f"otabuild-{__version__}.{kind}/" for kind in ("dist-info", "data"))
"""Folders of the wheel that are not the package."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source archive, built from the files in git."""
    copy, out = tmp_path_factory.mktemp("copy") / "otabuild", tmp_path_factory.mktemp("out")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    _build(copy, out)
    return out


def _build(source: Path, out: Path, *what: str) -> None:
    pytest.importorskip("hatchling", reason="only a build has it: pip install hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *what]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


def _wheel(folder: Path) -> Path:
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(_wheel(built)) as wheel:
        inside = {name for name in wheel.namelist() if not name.startswith(OUTSIDE)}
        others = {name.partition("/")[2] for name in wheel.namelist() if name.startswith(OUTSIDE)}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "otabuild").rglob("*.py")}
    tracked = subprocess.run(["git", "ls-files", "otabuild"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert inside == modules & set(tracked.stdout.split()) | DATA
    assert others == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
        "data/share/man/man1/otabuild.1",
    }


def test_the_schema_in_the_wheel_is_that_of_the_models(built: Path) -> None:
    with zipfile.ZipFile(_wheel(built)) as wheel:
        assert json.loads(wheel.read("otabuild/recipe.schema.json")) == json_schema()


def test_metadata(built: Path) -> None:
    with zipfile.ZipFile(_wheel(built)) as wheel:
        folder = f"otabuild-{__version__}.dist-info"
        metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
        entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Provides-Extra") == [
        *("awskms", "azurekms", "gcpkms", "hashivault"),
        *("mount", "pkcs11", "remote", "sbom"),
    ]
    optional = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" in line]
    assert [line.partition(">")[0] for line in optional] == [
        *("boto3", "azure-identity", "azure-keyvault-keys", "google-cloud-kms", "hvac"),
        *("mfusepy", "python-pkcs11", "obstore", "cyclonedx-python-lib", "packageurl-python"),
    ]
    assert "otabuild = otabuild.__main__:main" in entry_points


def test_the_source_archive_holds_what_the_tests_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "README.md", "LICENSE", "constraints.txt", "dodo.py", "mkdocs.yml", "noxfile.py"}
    needed |= {"pyproject.toml", "recipes/demo.yaml", "tools/demo.py", "tests/test_layers.py", "docs/architecture.md"}
    assert needed | {"examples/github-actions/.github/workflows/image.yml"} <= names
    assert not [name for name in names if name.startswith(("build/", "dist/", ".venv"))]


def test_the_source_archive_gives_the_same_wheel(built: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", next(built.glob("*.tar.gz")), "-C", tmp_path], check=True)
    _build(next(tmp_path.iterdir()), tmp_path / "out", "-t", "wheel")
    assert _wheel(tmp_path / "out").read_bytes() == _wheel(built).read_bytes()


@pytest.fixture(scope="module")
def empty(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with only the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    options = ("--disable-pip-version-check", "--quiet", "--constraint", ROOT / "constraints.txt")
    done = subprocess.run(
        [folder / "bin/python", "-m", "pip", "install", *options, _wheel(built)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0 and "from versions: none" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def _run(program: Path, *arguments: str, cwd: Path) -> str:
    env = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(cwd)}
    done = subprocess.run([program, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_runs_where_nothing_else_is(empty: Path, tmp_path: Path) -> None:
    assert json.loads(_run(empty / "otabuild", "version", "--json", cwd=tmp_path))["otabuild"] == __version__
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/hostname").write_text("vehicle\n", encoding="utf-8")
    _run(empty / "otabuild", "init", "recipes/vehicle.yaml", cwd=tmp_path)
    _run(empty / "otabuild", "pki", "demo", "pki", cwd=tmp_path)
    _run(empty / "doit", "verify", cwd=tmp_path)
    _run(empty / "otabuild", "report", "dist/vehicle.zip", "-o", "report.html", cwd=tmp_path)
    assert "verified" in _run(empty / "otabuild", "verify", "dist/vehicle.zip", "--ca", "pki/root-ca.pem", cwd=tmp_path)


def test_a_release_has_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a git checkout")
    made = []
    for number, place in enumerate(("here", "there/deeper")):
        source, out = tmp_path / place, tmp_path / f"out{number}"
        source.mkdir(parents=True)
        subprocess.run(["tar", "-xC", source], input=listed.stdout, check=True)
        os.utime(source / "README.md", (number, number))
        release.build(source, out, epoch="1700000000")
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(made[0]) == 2
    assert made[0] == made[1]
    assert release.notes(tmp_path / "here").startswith("## ")
