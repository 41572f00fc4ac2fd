"""`make demo`: makes a signed artifact from a tree of files, verifies it, deploys it to a tar and compares both."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from otabuild.signing.demo_pki import write_demo_pki
from tools.compare_tar import differences
from tools.demo_rootfs import make_rootfs

_ROOT = Path(__file__).resolve().parent.parent
_WORK = _ROOT / "build/demo"
_ARTIFACT = _ROOT / "dist/demo.zip"
_BIN = Path(sys.executable).parent


def main() -> int:
    """Run the demo; return 0 if the tar has the same content as the tree."""
    started = time.monotonic()
    _prepare()
    tar = _WORK / "deployed.tar"
    ca = ["--ca-dir", "build/demo/pki"]
    _run("doit", "build:demo")
    _run("doit", "verify:demo")
    _run(
        "otabuild",
        "deploy-image",
        "--image",
        "dist/demo.zip",
        "--ecu-id",
        "main",
        "--to-tar",
        str(tar.relative_to(_ROOT)),
        *ca,
    )
    found = list(differences(tar, _WORK / "rootfs", (0, 0)))
    for difference in found:
        print(difference)
    print("the deployed tar and the rootfs " + (f"differ in {len(found)} places" if found else "are equal"))
    print(f"artifact  {_ARTIFACT.relative_to(_ROOT)}")
    print(f"size      {_ARTIFACT.stat().st_size} bytes")
    with _ARTIFACT.open("rb") as file:
        print(f"SHA-256   {hashlib.file_digest(file, 'sha256').hexdigest()}")
    print(f"time      {time.monotonic() - started:.1f} s")
    return 1 if found else 0


def _prepare() -> None:
    """Rebuild the rootfs, so that it has no local changes; make the certificates once."""
    rootfs, pki = _WORK / "rootfs", _WORK / "pki"
    if rootfs.exists():
        shutil.rmtree(rootfs)
    make_rootfs(rootfs)
    if not pki.exists():
        write_demo_pki(str(pki), int(time.time()))


def _run(program: str, *arguments: str) -> None:
    print("$", program, *arguments, flush=True)
    done = subprocess.run([_BIN / program, *arguments], cwd=_ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
