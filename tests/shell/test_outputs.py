"""Where output goes to nothing, to a full disk or to a repository of somebody else: one message, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell.projects import Project

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def shell(project: Project, line: str) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -m {line}'
    env = project.environment()
    return subprocess.run(
        line,
        shell=True,
        cwd=project.root,
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )


@needs_full
@pytest.mark.parametrize(
    "command",
    [
        "otabuild help",
        "otabuild --help",
        "otabuild build --help",
        "otabuild help cost",
        "otabuild version",
        "otabuild schema",
    ],
)
def test_a_full_disk_is_not_taken_for_success(project: Project, command: str) -> None:
    done = shell(project, f"{command} > /dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_without_space_for_what_doit_remembers(project: Project) -> None:
    command = ["sh", "-c", 'ulimit -f 0; exec "$0" -m doit build', sys.executable]
    done = subprocess.run(
        command, cwd=project.root, env=project.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: build/.otabuild/doit.sqlite3: cannot use doit's memory of tasks (observed ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stream", [">&-", "2>&-", ">&- 2>&-", "<&-"])
@pytest.mark.parametrize("command", ["doit build", "otabuild build recipes/vehicle.yaml"])
def test_a_closed_stream_does_not_matter(project: Project, command: str, stream: str) -> None:
    done = shell(project, f"{command} {stream}")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert project.artifact.exists()


@needs_full
@pytest.mark.parametrize("command", ["doit build", "doit list", "otabuild build recipes/vehicle.yaml"])
def test_a_log_on_a_full_disk_ends_with_one_message(project: Project, command: str) -> None:
    done = shell(project, f"{command} > /dev/full")
    assert done.returncode != 0
    if command != "doit list":  # doit's own
        assert "Traceback" not in done.stderr
        assert "No space left" in done.stderr


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.email=a@example.org", "-c", "user.name=a"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize(
    "time", ["timestamp: commit", 'timestamp: 2025-01-01T00:00:00Z\noutput: "../${git:commit}.zip"']
)
def test_a_repository_without_a_commit_says_so(project: Project, time: str) -> None:
    project.edit("timestamp: 2025-01-01T00:00:00Z", time)
    if "output" in time:
        project.edit("output: ../dist/vehicle.zip\n", "")
    git(project.root, "init", "-q")
    done = project.otabuild("build", "recipes/vehicle.yaml")
    assert done.code == 1
    assert "no commit yet" in done.err


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("git") is None, reason="needs root and git")
def test_a_checkout_of_another_user_comes_with_gits_advice(project: Project) -> None:
    project.edit("timestamp: 2025-01-01T00:00:00Z", "timestamp: commit")
    git(project.root, "init", "-q")
    git(project.root, "add", ".")
    git(project.root, "commit", "-qm", "first")
    for path in [project.root, *project.root.rglob("*")]:
        os.chown(path, 1234, 1234, follow_symlinks=False)
    done = project.otabuild("build", "recipes/vehicle.yaml", HOME=str(project.root / "none"))
    assert done.code == 1
    assert "git config --global --add safe.directory" in done.err


def test_versions_without_metadata(project: Project) -> None:
    code = (
        "import importlib.metadata as m, sys\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
        "from otabuild.cli import main\n"
        "sys.exit(main(['version', *sys.argv[1:]]))"
    )
    assert project.run("-c", code).out.startswith("otabuild ")
    assert '"libzstd"' in project.run("-c", code, "--json").out
