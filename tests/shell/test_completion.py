"""Completion, asked as the shell asks for it, and in real shells on a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shell.projects import Project, make_project

IMAGE = "dist/vehicle.zip"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a product with an image."""
    project = make_project(tmp_path_factory.mktemp("completion") / "product")
    project.build()
    return project


def complete(project: Project, line: str, tmp_path: Path) -> set[str]:
    """Return what is offered at the end of a line, in the protocol of argcomplete."""
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\v"}
    done = project.otabuild(umask=-1, COMP_LINE=line, COMP_POINT=str(len(line)), **asked)
    assert done.code == 0, done.err
    return {word.strip() for word in answer.read_text(encoding="utf-8").split("\v") if word.strip()}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("otabuild ver", {"verify", "verify-sign", "verify-resources", "version"}),
        ("otabuild build --w", {"--wait"}),
        ("otabuild -q deploy-image --to", {"--to-tar"}),
        ("otabuild cache p", {"prune"}),
        ("otabuild pki d", {"demo"}),
        ("otabuild help bui", {"build"}),
        ("otabuild build recipes/", {"recipes/vehicle.yaml"}),
        ("otabuild list-image dist/vehicle.z", {IMAGE}),
        ("otabuild lint --ignore new-s", {"new-setuid"}),
        ("otabuild cache prune --size ", set()),
        (f"otabuild ls {IMAGE} --ecu-id ", {"main"}),
        (f"otabuild ls {IMAGE} --release-key p", {"prd"}),
        (f"otabuild ls {IMAGE} --ecu-id main /us", {"/usr/"}),
        (f"otabuild cat {IMAGE} /etc/h", {"/etc/hostname"}),
        (f"otabuild deploy-image --image {IMAGE} --ecu-id ", {"main"}),
        ("otabuild ls none.zip --ecu-id ", set()),
    ],
)
def test_what_is_offered(built: Project, line: str, offered: set[str], tmp_path: Path) -> None:
    assert complete(built, line, tmp_path) == offered


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(otabuild completion)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(otabuild completion)"'),
    "fish": (["fish", "--no-config", "-i"], "otabuild completion fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(built: Project, shell: str) -> None:
    command, load = SHELLS[shell]
    if not shutil.which(command[0]):
        pytest.skip(f"no {shell} here")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(built.root)
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        os.execvpe(command[0], command, built.environment(PATH=path, TERM="xterm", HOME=str(built.root)))
    try:
        type_and_wait(terminal, f"{load}; echo lo''aded\n", "loaded")
        type_and_wait(terminal, "otabuild schem\t", "schema")
        type_and_wait(terminal, "\x15otabuild build recipes/veh\t", "recipes/vehicle.yaml")
        type_and_wait(terminal, f"\x15otabuild cat {IMAGE} --ecu-id ma\t", "--ecu-id main")
        said = type_and_wait(terminal, "\x15echo en''ded\n", "ended")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert "rror" not in said


def type_and_wait(terminal: int, text: str, wanted: str) -> str:
    """Type something, and return what the shell writes until it shows what is wanted; a minute only ends a hanging test."""
    os.write(terminal, text.encode())
    said, end = "", time.monotonic() + 60
    while wanted not in said:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], said
        said += os.read(terminal, 1 << 16).decode(errors="replace")
    return said


def test_scripts_are_free_of_syntax_errors() -> None:
    for shell, argument in (("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")):
        if shutil.which(shell):
            script = subprocess.run(
                [BIN / "otabuild", "completion", argument], capture_output=True, text=True, check=True
            ).stdout
            subprocess.run([shell, "-n"], input=script, text=True, check=True)
