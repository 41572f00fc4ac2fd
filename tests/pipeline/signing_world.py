"""A product's folder that is built in this process, at the time of the test certificates."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from otabuild.image.image import open_image
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.step import Step
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.context import Context
from otabuild.recipe.load import load_recipe
from otabuild.recipe.model import Recipe
from otabuild.signing.trust import TrustPolicy
from otabuild.verification.verify import verify
from tests import pki
from tests.pki import DAY, NOW, Party, intermediate, root, signer
from tests.shared import ORACLE

BUILT_AT = NOW - DAY
SIGNATURE = {"index.json", "index.jwt", "metadata.jwt", "certificate.pem"}
RECIPE = """\
recipe: 1
output: dist/v.zip
timestamp: 2025-12-31T00:00:00Z
rootfs:
  main: {source: {directory: rootfs}, base-image: "test:1", architecture: x86_64, owner: "0:0"}
payloads: [{ecu: main, rootfs: main}]
"""


StepT = TypeVar("StepT", bound=Step[Any, Any])


@dataclass
class World:
    """A recipe `v.yaml` in the current folder, its certificates `0.pem`, `1.pem`, … and its trust `root.pem`."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    now: int = NOW
    prompts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cache_key: bytes = b"only a test"

    @property
    def artifact(self) -> Path:
        return self.folder / "dist/v.zip"

    def write(
        self, key: str | None = "{file: sign.key}", *, parties: tuple[Party, ...] = (), more: str = "", verify: str = ""
    ) -> None:
        """Write the recipe; without a key, the image is not signed."""
        chain = parties or (signer(), intermediate())
        for number, party in enumerate(chain):
            pki.save(self.folder / f"{number}.pem", party)
        pki.save(self.folder / "root.pem", root())
        (self.folder / "sign.key").write_bytes(signer().key_pem())
        (self.folder / "sign.key").chmod(0o600)
        names = ", ".join(f"{number}.pem" for number in range(1, len(chain)))
        sign = f"sign:\n  certificate: 0.pem\n  chain: [{names}]\n  key: {key}\n" if key else ""
        trust = f"verify: {{trust: [root.pem]{verify}}}\n"
        (self.folder / "v.yaml").write_text(RECIPE + trust + sign + more)

    def release(self) -> None:
        """Write an otaclient release: two squashfs packages, and a patch that is not part of the package."""
        folder = self.folder / "release"
        folder.mkdir()
        packages = []
        for architecture, kind in (("arm64", "squashfs"), ("x86_64", "squashfs"), ("x86_64", "patch")):
            name, content = f"otaclient-{architecture}.{kind}", f"{architecture} {kind}".encode() * 100
            (folder / name).write_bytes(content)
            packages.append(
                {
                    "filename": name,
                    "version": "3.9.1",
                    "type": kind,
                    "architecture": architecture,
                    "size": len(content),
                    "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
                }
            )
        manifest = {"schema_version": "1", "date": "2025-12-01T00:00:00Z", "packages": packages}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    @property
    def recipe(self) -> Recipe:
        return load_recipe("v.yaml", Context(env={}, git=str, now=self.now))

    @property
    def workspace(self) -> Workspace:
        def ask(what: str) -> bytes:
            self.prompts.append(what)
            return b"secret"

        return Workspace(
            now_ns=self.now * 10**9,
            work="work",
            workers=2,
            environ=self.environ,
            prompt=ask,
            warn=self.warnings.append,
            cache_key=lambda: self.cache_key,
        )

    def step(self, kind: type[StepT]) -> StepT:
        return kind(self.recipe, self.workspace)

    def build(self) -> bytes:
        """Build; return the artifact."""
        self.told.clear()
        run_steps(build_steps(self.recipe, self.workspace), lambda: 0.0, self.told.append)
        return self.artifact.read_bytes()

    def built(self) -> list[str]:
        """Return the steps that ran in the last build."""
        return [text.partition(":")[0] for text in self.told]

    def forget(self) -> None:
        """Remove everything that was built."""
        for name in ("work", "dist"):
            shutil.rmtree(self.folder / name)

    def files(self) -> dict[str, bytes]:
        """Return every file below the folder except the marks of the work directory."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name not in ("CACHEDIR.TAG", ".gitignore")
        }


def check(image: Path, now: int = NOW) -> None:
    """Verify with otabuild's reader and, if available, with an independent one."""
    with open_image(image) as opened:
        report = verify(opened, TrustPolicy(anchors=pki.anchors()), now)
    assert not [str(finding) for finding in report.findings if finding.severity == "error"]
    if ORACLE.exists():
        anchors = image.parent / "anchors"
        anchors.mkdir(exist_ok=True)
        pki.save(anchors / "root.pem", root())
        done = subprocess.run(
            [sys.executable, str(ORACLE), "check", str(image), "--ca-dir", str(anchors)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert done.returncode == 0, done.stdout + done.stderr


def entries(artifact: Path) -> dict[str, bytes]:
    """Return the content of an artifact."""
    with zipfile.ZipFile(artifact) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
