"""The reader ships alone: its packages, without the builder beside them, verify and deploy an image."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import otabuild
from tests import pki
from tests.image import forge
from tests.rooms import READER

PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.image.image import open_image
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.verification.verify import verify

_, home, path, anchor, tar, now = sys.argv
assert sys.modules["otabuild"].__file__.startswith(home)
policy = TrustPolicy(anchors=load_anchors([anchor]))
with open_image(path) as image:
    report = verify(image, policy, int(now))
    assert report.ok, report.findings
    deploy_tar(image.payload("main"), tar, policy, int(now))
"""


def test_the_reader_verifies_and_deploys_without_the_builder(tmp_path: Path) -> None:
    source, home = Path(otabuild.__file__).parent, tmp_path / "vehicle"
    for room in ("__init__", *sorted(READER)):
        if (source / room).is_dir():
            shutil.copytree(source / room, home / "otabuild" / room, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (home / "otabuild").mkdir(parents=True, exist_ok=True)
            shutil.copy(source / f"{room}.py", home / "otabuild")
    anchor, tar = pki.save(tmp_path / "root.pem", pki.root()), tmp_path / "main.tar"
    artifact = forge.forge().artifact(tmp_path / "image.zip")
    arguments = [str(home), str(artifact), anchor, str(tar), str(pki.NOW)]
    subprocess.run([sys.executable, "-I", "-c", PROGRAM, *arguments], check=True, cwd=tmp_path)
    assert tar.stat().st_size > 0
