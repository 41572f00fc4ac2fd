"""A full or failing disk: one message, exit code 1, existing output is kept, and the next run succeeds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shell.projects import Project

HERE = Path(__file__).parent
ROOT = str(HERE.parent.parent)
RUN = ["-m", "otabuild", "build", "recipes/vehicle.yaml"]


def _may_mount() -> list[str] | None:
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            mount = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


def _full_disk(project: Project, part: float) -> dict[str, Any]:
    command = _may_mount()
    if command is None:
        pytest.skip("needs leave to mount a file system")
    done = subprocess.run(
        [*command, sys.executable, str(HERE / "full_disk.py"), str(part)],
        cwd=project.root,
        env=project.environment(OTABUILD_JOBS="1", PYTHONPATH=ROOT),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_full_disk_of_some_sizes(project: Project) -> None:
    found = _full_disk(project, 0.06)
    assert found["wrong"] == {}
    assert found["tried"] > found["failed"] > 3


@pytest.mark.sweep
def test_a_full_disk_of_every_size(project: Project) -> None:
    found = _full_disk(project, 1)
    assert found["wrong"] == {}
    assert found["tried"] > found["failed"] > 60


def _strace(project: Project, call: str, path: str) -> subprocess.CompletedProcess[str]:
    """A build in which a system call on a path fails with EIO."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    # Traced in the kernel, so that only this call stops the build; otherwise, every call does.
    options = ["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-P", str(project.root / path)]
    done = subprocess.run(
        [strace, *options, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO", sys.executable, *RUN],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "PTRACE" in done.stderr:
        pytest.skip("may not trace")
    return done


CALLS = [
    ("pwrite64", "dist/.vehicle.zip.otabuild-tmp"),
    ("syncfs", "dist/.vehicle.zip.otabuild-tmp"),
    ("close", "dist/.vehicle.zip.otabuild-tmp"),
    ("fsync", "dist"),
    ("pwrite64", "build/.otabuild/cache/packs/4"),
    ("write", "build/.otabuild/recipes/vehicle/.store.stamp.otabuild-tmp"),
    ("write", "build/.otabuild/recipes/vehicle/rootfs/.main.entries.otabuild-tmp"),
    ("pwrite64", "build/.otabuild/recipes/vehicle/rootfs/main.sqlite3"),
    ("read,pread64", "rootfs/etc/hostname"),
]


@pytest.mark.parametrize(("call", "path"), CALLS, ids=lambda value: value.rpartition("/")[2])
def test_a_system_call_that_fails(project: Project, call: str, path: str) -> None:
    old = project.build()
    (project.root / "rootfs/etc/hostname").write_text("other\n")
    (project.root / "rootfs/usr/share/large").write_bytes(bytes(100_000))
    done = _strace(project, call, path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert done.stderr.count("error: ") == 1
    assert path == "dist" or project.sha256 == old  # after the rename, the new one may be there
    assert project.leftovers() == []
    new = project.build()
    assert new != old
    shutil.rmtree(project.root / "build")
    assert project.build() == new


def test_a_reader_of_the_output_that_goes_away(project: Project) -> None:
    with project.start(*RUN) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode in {0, 1, 128 + signal.SIGPIPE}
    assert "Traceback" not in said
    assert "Broken pipe" not in said
    assert project.leftovers() == []
    assert project.artifact.exists()
