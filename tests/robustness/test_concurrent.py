"""Several builds in one work directory: one wins, the others report why they stop, or wait."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from otabuild.storage import lock
from tests.shell.projects import Project

BUILD = ("-m", "otabuild", "build", "recipes/vehicle.yaml")
DOIT = ("-m", "doit", "build")
WHY = re.compile(r"another build is running in this directory \(observed (pid \d+, started [\dT:Z-]+|a process .*)\)")


def race(project: Project, *command: str, count: int = 4, **env: str) -> list[tuple[int, str]]:
    """Return exit codes and standard error."""
    started: list[subprocess.Popen[str]] = [project.start(*command, **env) for _ in range(count)]
    said = [process.communicate(timeout=300)[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


def rounds(project: Project, count: int) -> None:
    """Check that all losers say why, all winners make the same, and nothing is left behind."""
    sha256 = project.build()
    for number in range(count):
        if number % 2:
            project.artifact.unlink()
        else:
            project.run("-c", "import shutil; shutil.rmtree('build'); shutil.rmtree('dist')")
        ended = race(project, *(DOIT if number % 3 == 2 else BUILD))
        assert {code for code, _ in ended} <= {0, 1}
        assert [code for code, _ in ended].count(0) >= 1
        assert all(WHY.search(said) for code, said in ended if code), ended
        assert project.sha256 == sha256
        assert project.leftovers() == []


def test_some_rounds(project: Project) -> None:
    rounds(project, 3)


@pytest.mark.sweep
def test_fifty_rounds(project: Project) -> None:
    rounds(project, 50)


@pytest.mark.parametrize("command", [(*BUILD, "--wait"), DOIT], ids=["otabuild", "doit"])
def test_who_waits_gets_its_turn(project: Project, command: tuple[str, ...]) -> None:
    assert [code for code, _ in race(project, *command, OTABUILD_WAIT="1")] == [0, 0, 0, 0]


def test_who_holds_the_lock_is_named(project: Project) -> None:
    held = lock.WorkLock(str(project.root / "build/.otabuild"))
    held.acquire(started="2030-01-01T00:00:00Z")
    for done in (project.run(*BUILD), project.run(*DOIT), project.otabuild("cache", "show")):
        assert done.code == 1
        assert f"pid {os.getpid()}, started 2030-01-01T00:00:00Z" in done.err
    held.release()
    assert project.run(*BUILD).code == 0


def test_a_lock_file_of_a_dead_process_holds_nothing(project: Project) -> None:
    path = Path(project.root / "build/.otabuild/lock")
    path.parent.mkdir(parents=True)
    path.write_text('{"pid": 1, "started": "1970-01-01T00:00:00Z"}')
    assert project.run(*BUILD).code == 0
