"""Projects to build: a folder with a recipe for one rootfs, and the commands for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Side
from otabuild.signing.demo_pki import write_demo_pki

WORKERS = "2"
"""The number of threads for every side: like `zstd -T2`, regardless of the machine."""
ENVIRON = {"OTABUILD_JOBS": WORKERS, "SOURCE_DATE_EPOCH": "1735689600"}


class Project:
    """A separate project for one rootfs and storage profile; projects share certificates only.

    Args:
        folder: its folder; created if missing.
        source: the `source` of the recipe's rootfs.
        profile: the storage profile.
        keys: more keys of the recipe; None leaves one out.
    """

    def __init__(
        self, folder: Path, source: dict[str, str], profile: str = "update", **keys: Any
    ) -> None:
        self.folder = folder
        self.artifact = folder / "dist/image.zip"
        self.ca = folder.parent / "pki/root-ca.pem"
        if not self.ca.exists():
            write_demo_pki(str(self.ca.parent), int(time.time()))
        (folder / "recipes").mkdir(parents=True, exist_ok=True)
        (folder / "dodo.py").write_text("from otabuild.tasks import *\n")
        (folder / "recipes/image.yaml").write_text(
            json.dumps(
                {
                    key: value
                    for key, value in {**_recipe(source, profile), **keys}.items()
                    if value is not None
                }
            )
        )

    def forget(self) -> None:
        """Remove everything that builds left, so that the next one is cold."""
        shutil.rmtree(self.folder / "build", ignore_errors=True)
        shutil.rmtree(self.folder / "dist", ignore_errors=True)

    def cold(self, name: str, python: str = sys.executable) -> Side:
        """`doit build` without any earlier output."""
        return Side(name, [python, "-m", "doit", "build"], self.folder, self.forget, ENVIRON)

    def again(self, name: str) -> Side:
        """`doit build` after an earlier build, without its report: each build writes its own."""
        report = Path(f"{self.artifact}.report.json")
        command = [sys.executable, "-m", "doit", "build"]
        return Side(name, command, self.folder, lambda: report.unlink(missing_ok=True), ENVIRON)

    def report(self) -> dict[str, int]:
        """Return the totals of the last build's report, wherever it is."""
        places = (
            Path(f"{self.artifact}.report.json"),
            self.folder / "build/release/image.report.json",
        )
        path = next(place for place in places if place.exists())
        totals: dict[str, int] = json.loads(path.read_bytes())["totals"]
        return totals

    def blobs(self) -> int:
        """Return the number of blobs in the artifact."""
        with zipfile.ZipFile(self.artifact) as archive:
            return sum(name.startswith("blobs/") for name in archive.namelist())

    def command(self, name: str, verb: str, *arguments: str | Path) -> Side:
        """Return a command on an image."""
        return Side(
            name, [sys.executable, "-m", "otabuild", verb, *arguments], self.folder, environ=ENVIRON
        )


def answer(side: Side) -> dict[str, Any]:
    """Return the JSON that a command prints, without measuring it."""
    done = subprocess.run(
        side.command,
        cwd=side.folder,
        env={**ENVIRON, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _recipe(source: dict[str, str], profile: str) -> dict[str, Any]:
    return {
        "recipe": 1,
        "output": "../dist/image.zip",
        "timestamp": "2025-01-01T00:00:00Z",
        "rootfs": {
            "main": {
                "source": source,
                "base-image": "benchmark",
                "os": {"name": "benchmark", "version": "1"},
                "architecture": "x86_64",
                "owner": "keep",
                "prepare": {"clean": "none", "resolv-conf": "keep", "exclude": ["/dev/*"]},
                "unsupported": "skip",
            }
        },
        "payloads": [{"ecu": "main", "rootfs": "main"}],
        "storage": {"profile": profile},
        "sign": {
            "certificate": "../../pki/sign.pem",
            "chain": ["../../pki/intermediate.pem"],
            "key": {"file": "../../pki/sign.key"},
        },
    }
