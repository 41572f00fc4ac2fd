"""Every kind of entry, two rootfs and three payloads, checked by an independent program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.shared import ORACLE, TOOLS
from tests.shell.projects import Project

RECIPE = """\
recipe: 1
name: vehicle
output: ../dist/vehicle.zip
output-dir: ../dist/vehicle
timestamp: 2025-01-01T00:00:00Z
rootfs:
  nasty:
    source: {directory: ../nasty}
    base-image: "test:1"
    os: {name: Test, version: "1"}
    architecture: x86_64
  small:
    source: {directory: ../rootfs}
    base-image: "test:1"
    architecture: arm64
    owner: "0:0"
payloads:
  - {ecu: main, rootfs: nasty, release-keys: [dev, prd]}
  - {ecu: other, rootfs: small}
sign:
  certificate: ../pki/sign.pem
  chain: [../pki/intermediate.pem]
  key: {file: ../pki/sign.key}
verify: {trust: [../pki/root-ca.pem]}
"""


@pytest.mark.root
@pytest.mark.skipif(not TOOLS.is_dir(), reason="the independent tools are not here")
def test_the_judge_finds_nothing(project: Project) -> None:
    subprocess.run([sys.executable, TOOLS / "make_rootfs.py", "nasty", project.root / "nasty"], check=True)
    project.recipe.write_text(RECIPE)
    done = project.doit("build", "verify")
    assert done.code == 0, done.out + done.err
    for image in (project.artifact, project.root / "dist/vehicle"):
        judged = subprocess.run(
            [sys.executable, ORACLE, "check", image, "--ca-dir", project.root / "pki"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert judged.returncode == 0, judged.stdout + judged.stderr
