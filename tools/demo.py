"""`make demo`: the product in a minute.

It makes a signed artifact from a tree of files, verifies it, deploys it to a tar and compares both.
Then it makes the next release, shows what changed and what a device fetches, and that a copy with
one wrong byte is refused.
"""

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
    print(
        "the deployed tar and the rootfs "
        + (f"differ in {len(found)} places" if found else "are equal")
    )
    _next_release()
    _run("otabuild", "build", "build/demo/next.yaml")
    _run("otabuild", "diff", "dist/demo.zip", "build/demo/next.zip", "--ecu-id", "main")
    _run("otabuild", "cost", "dist/demo.zip", "build/demo/next.zip", "--ecu-id", "main")
    _run(
        "otabuild",
        "report",
        "build/demo/next.zip",
        "--base",
        "dist/demo.zip",
        "-o",
        "build/demo/report.html",
    )
    _tamper()
    _run("otabuild", "verify", "build/demo/tampered.zip", *ca, code=1)
    print("one byte was changed, and the copy was refused")
    print(f"artifact  {_ARTIFACT.relative_to(_ROOT)}")
    print(f"size      {_ARTIFACT.stat().st_size} bytes")
    with _ARTIFACT.open("rb") as file:
        print(f"SHA-256   {hashlib.file_digest(file, 'sha256').hexdigest()}")
    print("report    build/demo/report.html: open it in a browser")
    print(f"time      {time.monotonic() - started:.1f} s")
    print(
        f"try next  {_BIN.relative_to(_ROOT)}/otabuild ls -R dist/demo.zip --ecu-id main, or "
        "docs/tutorial.md"
    )
    return 1 if found else 0


def _prepare() -> None:
    """Rebuild the rootfs, so that it has no local changes; make the certificates once."""
    rootfs, pki = _WORK / "rootfs", _WORK / "pki"
    if rootfs.exists():
        shutil.rmtree(rootfs)
    make_rootfs(rootfs)
    if not pki.exists():
        write_demo_pki(str(pki), int(time.time()))


def _next_release() -> None:
    """Change the rootfs, and write the recipe of the release that follows."""
    rootfs = _WORK / "rootfs"
    (rootfs / "etc/hostname").write_text("demo-2\n", encoding="utf-8")
    (rootfs / "usr/share/new").write_text(
        "".join(f"{number}\n" for number in range(50_000)), encoding="utf-8"
    )
    (rootfs / "usr/share/copy-2").unlink()
    text = (_ROOT / "recipes/demo.yaml").read_text(encoding="utf-8")
    for old, new in {
        "../dist/demo.zip": "next.zip",
        "../build/demo/": "",
        "name: demo\n": "name: next\n",
        "1.0.0": "1.1.0",
    }.items():
        text = text.replace(old, new)
    (_WORK / "next.yaml").write_text(text, encoding="utf-8")


def _tamper() -> None:
    """Copy the next release, and change one byte of a blob."""
    raw = bytearray((_WORK / "next.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    (_WORK / "tampered.zip").write_bytes(raw)


def _run(program: str, *arguments: str, code: int = 0) -> None:
    print("$", program, *arguments, flush=True)
    done = subprocess.run([_BIN / program, *arguments], cwd=_ROOT, check=False)
    if done.returncode != code:
        raise SystemExit(done.returncode or 1)


if __name__ == "__main__":
    sys.exit(main())
