"""OTA images, and two steps of our own; see `doit list --all`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import otabuild
from otabuild.tasks import *  # noqa: F403


@otabuild.before_scan("vehicle", "main")
def make_rootfs() -> None:
    """Make the rootfs; a product runs debootstrap, or fetches what its platform team built."""
    etc = Path("build/rootfs/etc")
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "hostname": "vehicle\n",
        "os-release": 'NAME="Example Linux"\nVERSION_ID="1"\n',
    }.items():
        file = etc / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(
                text, encoding="utf-8"
            )  # only if it differs: unchanged files are not read again


@otabuild.after_build("vehicle")
def notes(artifact: str) -> None:
    """Write the release notes beside the artifact."""
    with Path(artifact).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with otabuild.open_image(artifact) as image:
        payloads = [f"{payload.ecu}/{payload.release_key}" for payload in image.payloads]
    text = json.dumps(
        {"artifact": Path(artifact).name, "sha256": sha256, "payloads": payloads}, indent=2
    )
    Path(artifact).with_suffix(".notes.json").write_text(text + "\n", encoding="utf-8")
