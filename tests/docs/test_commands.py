"""Runs every command of the documentation, page by page, in an empty folder, and compares the output.

A page is a script. ```` ```console ```` has commands after `$ ` and their output (`…` stands for anything), ```` ```sh ````
commands alone; a block
with `title="FILE"` is written to that file. Comments that readers do not see control the run:

    <!-- setup                  a shell script to run first
    ... -->
    <!-- helper: NAME PATH -->  something that a function below makes
    <!-- needs: TOOL ... -->    the next block, or setup, is skipped if a tool is missing
    <!-- exit: N -->            the last command of the next block ends with N
    <!-- not run: WHY -->       the next block is not run; its otabuild commands are still parsed
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild.cli import make_parser
from otabuild.signing.demo_pki import write_demo_pki
from tests.docs.pages import PAGES, ROOT, Command, blocks

BIN = Path(sys.executable).parent
STRANGE = ("OTABUILD_", "SOURCE_DATE_EPOCH", "DOIT_", "GIT_", "OTA_", "PYTEST")
RECIPE = """\
recipe: 1
output: ../dist/vehicle.zip
timestamp: 2026-01-01T00:00:00Z
rootfs:
  main:
    source: {directory: ../rootfs}
    base-image: "demo:1"
    architecture: x86_64
    owner: "0:0"
payloads:
  - {ecu: main, rootfs: main}
sign:
  certificate: ../pki/sign.pem
  chain: [../pki/intermediate.pem]
  key: {file: ../pki/sign.key}
verify: {trust: [../pki/root-ca.pem]}
"""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


@pytest.mark.skipif(not (BIN / "otabuild").exists(), reason="otabuild is not installed in this environment")
@each_page
def test_commands_run(page: Path, tmp_path: Path) -> None:
    shell, missing = Shell(tmp_path), set()
    for block in blocks(page):
        absent = {tool for tool in block.marks.get("needs", "").split() if not shutil.which(tool)}
        if "not run" in block.marks or absent:
            missing |= absent
        elif block.kind == "setup":
            shell.begin()
            shell.run(Command(block.body, []), 0)
        elif block.kind == "helper":
            name, path = block.body.split()
            HELPERS[name](tmp_path / path)
        elif block.title:
            (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.title).write_text(block.body, encoding="utf-8")
        elif block.is_session:
            commands = block.commands()
            shell.begin()
            for number, command in enumerate(commands, 1):
                shell.run(command, int(block.marks.get("exit", "0")) if number == len(commands) else 0)
    if missing:
        pytest.skip(f"all ran but what needs {', '.join(sorted(missing))}")


class Shell:
    """Runs commands in one folder; exported variables persist, and `cd` lasts until the end of the block."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.exports, self.moves = folder, "", ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
        own = {"PYTHONWARNINGS": "ignore", "COLUMNS": "200", "HOME": str(folder)}
        names = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
        author = {f"GIT_{name}": "reader@example.com" for name in names}
        self.env = {**kept, **own, **author, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def begin(self) -> None:
        """Start a block."""
        self.moves = ""

    def run(self, command: Command, code: int) -> None:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", self.exports + self.moves + command.text],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, f"$ {command.text}\n{done.stdout}"
        if command.text.startswith("export "):
            self.exports += f"{command.text}\n"
        if command.text.startswith("cd "):
            self.moves += f"{command.text}\n"
        lines = iter(done.stdout.splitlines())
        for expected in command.prints:
            pattern = re.sub(r"([\[?*])", r"[\1]", expected).replace("…", "*")
            assert expected == "…" or any(fnmatch.fnmatchcase(line.rstrip(), pattern) for line in lines), (
                f"$ {command.text}\n{done.stdout}does not print {expected!r}"
            )


@each_page
def test_commands_that_are_not_run_are_at_least_commands(page: Path) -> None:
    for block in blocks(page):
        for command in block.commands() if block.is_session else ():
            words = shlex.split(command.text.replace("\\\n", " "), comments=True)
            if words[0] == "otabuild":
                ends = [number for number, word in enumerate(words) if word in {">", "|", "||", "&&", "<"}]
                make_parser().parse_args(words[1 : ends[0] if ends else None])


@each_page
def test_what_is_not_run_says_why(page: Path) -> None:
    assert all(block.marks["not run"] for block in blocks(page) if "not run" in block.marks)


def docker_archive(path: Path) -> None:
    """Write what `docker save` writes for an image with one layer."""
    layer = _tar({"etc/os-release": b'NAME="Debian GNU/Linux"\nVERSION_ID="12"\n', "etc/hostname": b"debian\n"})
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = [{"Config": "config.json", "RepoTags": ["debian:12"], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer,
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_tar(files))


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def product(path: Path) -> None:
    """Make the repository of a product: dodo.py, a recipe, a rootfs, demo certificates."""
    files = {
        "dodo.py": "from otabuild.tasks import *\n",
        "recipes/vehicle.yaml": RECIPE,
        "rootfs/etc/hostname": "vehicle\n",
        "rootfs/etc/os-release": 'NAME="Demo Linux"\nVERSION_ID="1"\n',
        "rootfs/usr/bin/tool": "".join(f"{number}\n" for number in range(10_000)),
    }
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    write_demo_pki(str(path / "pki"), int(time.time()))


def examples(path: Path) -> None:
    """Make the examples as in a checkout."""
    made = shutil.ignore_patterns("build", "dist", "pki", ".doit*", "__pycache__")
    shutil.copytree(ROOT / "examples", path, ignore=made)


HELPERS: dict[str, Callable[[Path], None]] = {
    "docker-archive": docker_archive,
    "examples": examples,
    "product": product,
}
