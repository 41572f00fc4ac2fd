"""A product's repository for running commands: a dodo.py, a recipe, a rootfs and demo certificates."""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from otabuild.signing.demo_pki import write_demo_pki
from tests.shell.warm import Warm

_AT_START = ("LANG", "LC_", "LOCPATH", "PYTHON")
"""Variables that an interpreter looks at when it starts."""
HERE = Path(__file__).parent
WORK = "build/.otabuild"
TIMESTAMP = "2025-01-01T00:00:00Z"
RECIPE = """\
recipe: 1
name: {name}
output: ../dist/{name}.zip
timestamp: {timestamp}
annotations: {{platform: test}}
rootfs:
  main:
    source: {{directory: ../rootfs}}
    base-image: "test:1"
    architecture: x86_64
    owner: "0:0"
payloads:
  - {{ecu: main, rootfs: main}}
sign:
  certificate: ../pki/sign.pem
  chain: [../pki/intermediate.pem]
  key: {{file: ../pki/sign.key}}
verify: {{trust: [../pki/root-ca.pem]}}
"""
STEPS = [
    "preflight:vehicle",
    "scan:vehicle/main",
    *(f"{kind}:vehicle" for kind in ("store", "tables", "index", "sign", "build")),
]


@cache
def _pki() -> str:
    """Return certificates that are made once for all tests of this process."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="otabuild-tests-pki-")
    write_demo_pki(os.path.join(folder, "pki"), int(time.time()))
    return os.path.join(folder, "pki")


@cache
def _warm() -> Warm:
    """Return the process that all projects of this one run their commands in."""
    made = Warm(Project(Path()).environment())
    atexit.register(made.close)
    return made


@dataclass(frozen=True)
class Ended:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def ran(self) -> list[str]:
        """Return the tasks that doit ran."""
        return [line[3:] for line in self.out.splitlines() if line.startswith(".  ")]


@dataclass
class Project:
    """Runs commands as a user would, each in a process of its own; `seconds` only ends one that hangs."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    seconds: int = 300

    @property
    def artifact(self) -> Path:
        return self.root / "dist/vehicle.zip"

    @property
    def recipe(self) -> Path:
        return self.root / "recipes/vehicle.yaml"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.artifact.read_bytes()).hexdigest()

    def environment(self, **env: str) -> dict[str, str]:
        strange = ("OTABUILD_", "SOURCE_DATE_EPOCH", "DOIT_", "PYTHON", "GIT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        return {**kept, "PYTHONWARNINGS": "ignore", **self.env, **env}

    def run(self, *command: str | Path, cwd: str = ".", umask: int = -1, **env: str) -> Ended:
        new = (
            self._new
            if command[0] == "-c" or any(name.startswith(_AT_START) for name in self.env | env)
            else self._forked
        )
        ended = new(list(map(str, command)), str(self.root / cwd), self.environment(**env), umask)
        assert "Traceback" not in ended.err + ended.out, ended.err + ended.out
        return ended

    def _forked(self, command: list[str], cwd: str, env: dict[str, str], umask: int) -> Ended:
        return Ended(*_warm().run(command, cwd=cwd, env=env, umask=umask, seconds=self.seconds))

    def _new(self, command: list[str], cwd: str, env: dict[str, str], umask: int) -> Ended:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.seconds,
            umask=umask,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *command: str | Path, **env: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, *command], cwd=self.root, env=self.environment(**env), stdout=pipe, stderr=pipe, text=True
        )

    def doit(self, *arguments: str, cwd: str = ".", umask: int = -1, **env: str) -> Ended:
        return self.run("-m", "doit", *arguments, cwd=cwd, umask=umask, **env)

    def otabuild(self, *arguments: str, cwd: str = ".", umask: int = -1, **env: str) -> Ended:
        return self.run("-m", "otabuild", *arguments, cwd=cwd, umask=umask, **env)

    def build(self, **env: str) -> str:
        """Build with doit; return the SHA-256 of the artifact."""
        done = self.doit("build", umask=-1, **env)
        assert done.code == 0, done.out + done.err
        return self.sha256

    def add_recipe(self, name: str, text: str = RECIPE) -> Path:
        path = self.root / f"recipes/{name}.yaml"
        path.write_text(text.format(name=name, timestamp=TIMESTAMP), encoding="utf-8")
        return path

    def edit(self, old: str, new: str) -> None:
        """Change the recipe."""
        text = self.recipe.read_text(encoding="utf-8")
        assert old in text
        self.recipe.write_text(text.replace(old, new), encoding="utf-8")

    def files(self) -> set[str]:
        """Every path below the project."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}

    def leftovers(self) -> list[str]:
        """Return temporary files that should not exist any more."""
        return sorted(path for path in self.files() if "tmp" in os.path.basename(path))


def make_project(root: Path) -> Project:
    """A repository with one recipe, `vehicle`."""
    project = Project(root)
    for folder in ("recipes", "rootfs/etc", "rootfs/usr/bin", "rootfs/usr/share"):
        (root / folder).mkdir(parents=True)
    (root / "dodo.py").write_text("from otabuild.tasks import *\n")
    shutil.copytree(_pki(), root / "pki")
    project.add_recipe("vehicle")
    write_rootfs(root / "rootfs")
    return project


def write_rootfs(rootfs: Path) -> None:
    """Write contents that are inlined, bundled, stored by themselves, equal and linked."""
    contents = {
        "etc/hostname": b"test\n",
        "etc/os-release": b"NAME=Test\nVERSION_ID=1\n",
        "etc/empty": b"",
        "usr/bin/tool": bytes(range(256)) * 400,
        **{f"usr/share/{n}": f"{n}\n".encode() * 100 for n in range(30)},
    }
    for path, content in contents.items():
        (rootfs / path).write_bytes(content)
        (rootfs / path).chmod(0o644)
    (rootfs / "bin").symlink_to("usr/bin")
    os.link(rootfs / "usr/bin/tool", rootfs / "usr/bin/tool-again")
    for folder in (rootfs, *(path for path in rootfs.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)


def key_of(project: Project) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key((project.root / "pki/sign.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def answer(project: Project, request: str, target: str) -> None:
    """Sign a request like a key service."""
    call = json.loads((project.root / request).read_text())["aws-kms-sign"]
    der = key_of(project).sign(base64.b64decode(call["Message"]), ec.ECDSA(Prehashed(hashes.SHA256())))
    (project.root / target).write_text(json.dumps({"Signature": base64.b64encode(der).decode()}))
