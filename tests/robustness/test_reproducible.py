"""The same input produces the same bytes: copies of the tree, other SQLite, other Pythons, other work directories."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shell.projects import Project

ROOT = Path(__file__).parent.parent.parent
OTHER_SQLITE = """
import sys, pysqlite3
import sqlite3 as usual
assert pysqlite3.sqlite_version != usual.sqlite_version, "the same version twice"
sys.modules["sqlite3"] = pysqlite3
from otabuild.storage import sqlite_write
assert sqlite_write.sqlite3 is pysqlite3
from otabuild.cli import main
sys.exit(main(["build", "recipes/vehicle.yaml"]))
"""


def copy_as_it_is(rootfs: Path) -> None:
    subprocess.run(["cp", "-a", rootfs, f"{rootfs}.copy"], check=True)


def copy_through_tar(rootfs: Path) -> None:
    Path(f"{rootfs}.copy").mkdir()
    with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "-C", f"{rootfs}.copy", "-xp"], stdin=packing.stdout, check=True)


def copy_backwards(rootfs: Path) -> None:
    """Make every entry in reverse order, so that inodes and directory order differ; times are the current time."""
    for path in sorted(rootfs.rglob("*"), reverse=True):
        if path.is_file() and not path.is_symlink():
            target = Path(f"{rootfs}.copy") / path.relative_to(rootfs)
            target.parent.mkdir(parents=True, exist_ok=True)
            twin = target.with_name(path.name.removesuffix("-again"))
            if path.name.endswith("-again"):
                shutil.copy(path, twin)
                os.link(twin, target)
            elif not target.exists():
                shutil.copy(path, target)
    (Path(f"{rootfs}.copy") / "bin").symlink_to("usr/bin")
    for folder in (Path(f"{rootfs}.copy"), *Path(f"{rootfs}.copy").rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)


@pytest.mark.parametrize("copy", [copy_as_it_is, copy_through_tar, copy_backwards])
def test_a_copy_of_the_tree(project: Project, copy: Callable[[Path], None]) -> None:
    sha256 = project.build()
    rootfs = project.root / "rootfs"
    copy(rootfs)
    shutil.rmtree(rootfs)
    Path(f"{rootfs}.copy").rename(rootfs)
    assert project.build() == sha256
    shutil.rmtree(project.root / "build")
    assert project.build() == sha256


def test_a_tar_as_source(project: Project) -> None:
    sha256 = project.build()
    subprocess.run(["tar", "-C", project.root / "rootfs", "-cf", project.root / "rootfs.tar", "."], check=True)
    project.edit("{directory: ../rootfs}", "{tar: ../rootfs.tar}")
    assert project.build() == sha256


def test_another_place_and_work_directory(project: Project, tmp_path: Path) -> None:
    sha256 = project.build()
    moved = tmp_path / "another name"
    shutil.copytree(project.root, moved, symlinks=True, ignore=shutil.ignore_patterns("build", "dist", "rootfs"))
    subprocess.run(["cp", "-a", project.root / "rootfs", moved / "rootfs"], check=True)
    (moved / "pyproject.toml").write_text('[tool.otabuild]\nwork = "elsewhere/work"\n')
    assert Project(moved).build() == sha256


def test_another_sqlite(project: Project) -> None:
    pytest.importorskip("pysqlite3")
    sha256 = project.build()
    shutil.rmtree(project.root / "build")
    done = project.run("-c", OTHER_SQLITE, PYTHONPATH=str(ROOT))
    assert done.code == 0, done.err
    assert project.sha256 == sha256


def _interpreter(version: str) -> str | None:
    found = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))
    return found[-1] if found else shutil.which(f"python{version}")


@pytest.mark.sweep
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_another_python(project: Project, tmp_path: Path, version: str) -> None:
    interpreter = _interpreter(version)
    if interpreter is None:
        pytest.skip(f"needs Python {version}")
    sha256 = project.build()
    shutil.rmtree(project.root / "build")
    subprocess.run([interpreter, "-m", "venv", tmp_path / "venv"], check=True)
    install = ["-m", "pip", "install", "--quiet", "--constraint", f"{ROOT}/constraints.txt", str(ROOT)]
    subprocess.run([f"{tmp_path}/venv/bin/python", *install], check=True)
    command = [f"{tmp_path}/venv/bin/otabuild", "build", "recipes/vehicle.yaml"]
    subprocess.run(command, cwd=project.root, env=project.environment(), check=True, capture_output=True)
    assert project.sha256 == sha256
