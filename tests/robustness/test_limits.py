"""Large, endless and hostile inputs: memory is bounded, nothing hangs, and names reach a terminal only escaped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell.projects import Project

PEAK = """
import resource, sys
from otabuild.cli import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""
MIB = 1 << 20
BUILD = ["build", "recipes/vehicle.yaml"]


def peak(project: Project, *arguments: str) -> int:
    """Return the peak memory of a command in KiB."""
    done = project.run("-c", PEAK, *arguments, PYTHONPATH=str(Path(__file__).parent.parent.parent))
    assert done.code == 0, done.err
    return int(done.out.split()[-1])


@pytest.mark.sweep
def test_memory_does_not_grow_with_a_file(tmp_path: Path, project: Project) -> None:
    """This test is on disk, unlike the others: the file is 1 GiB of zeros."""
    moved = Project(tmp_path / "product")
    shutil.copytree(project.root, moved.root, symlinks=True)
    os.truncate(moved.root / "rootfs/usr/bin/tool", 1 << 30)
    assert peak(moved, *BUILD) < 300 * 1024
    assert peak(moved, "verify", "dist/vehicle.zip", "--ca", "pki/root-ca.pem") < 300 * 1024
    target = ["deploy-image", "--image", "dist/vehicle.zip", "--ecu-id", "main", "--to-tar", "dist/root.tar"]
    assert peak(moved, *target, "--ca", "pki/root-ca.pem") < 300 * 1024


def test_memory_of_a_file_of_64_mib(project: Project) -> None:
    before = peak(project, *BUILD)
    with (project.root / "rootfs/usr/bin/large").open("wb") as file:
        os.truncate(file.fileno(), 64 * MIB)
    assert peak(project, *BUILD) < before + 100 * 1024  # a slice of 32 MiB, and the read-ahead


HOSTILE = "\x1b[2J\x1b]0;owned\x07\n\u202e"


@pytest.mark.parametrize("where", ["a fifo", "a socket name", "an unmatched pattern"])
def test_hostile_names_are_escaped(project: Project, where: str) -> None:
    name = f"rootfs/etc/{HOSTILE}"
    if where == "a fifo":
        os.mkfifo(project.root / name)
    elif where == "a socket name":
        (project.root / name).mkdir()
        os.mkfifo(project.root / name / "fifo")
    else:
        os.mknod(project.root / name, 0o600 | 0o010000)
    for done in (project.otabuild(*BUILD), project.doit("build")):
        assert done.code == 1
        said = done.out + done.err
        assert "\\x1b" in said
        assert "\x1b" not in said
        assert "\u202e" not in said


def _source(project: Project, path: str) -> None:
    project.edit("{directory: ../rootfs}", f"{{tar: {path}}}")


@pytest.mark.parametrize("kind", ["fifo", "endless device", "directory"])
@pytest.mark.parametrize("role", ["source", "key", "certificate", "recipe", "image"])
def test_what_never_ends_is_refused(project: Project, role: str, kind: str) -> None:
    bad = project.root / "bad"
    if kind == "fifo":
        os.mkfifo(bad)
    elif kind == "endless device":
        bad.symlink_to("/dev/zero")
    else:
        bad.mkdir()
    command = list(BUILD)
    if role == "source":
        _source(project, "../bad")
    elif role == "key":
        project.edit("../pki/sign.key", "../bad")
    elif role == "certificate":
        project.edit("certificate: ../pki/sign.pem", "certificate: ../bad")
    elif role == "recipe":
        command = ["build", "bad"]
    else:
        command = ["verify", "bad", "--ca", "pki/root-ca.pem"]
    done = subprocess.run(
        [sys.executable, "-m", "otabuild", *command],
        cwd=project.root,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,  # a guard: it hangs, or it does not
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("error: ") + done.stderr.count("bad:") >= 1
    assert "Traceback" not in done.stderr
