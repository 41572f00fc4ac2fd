"""`make release`: wheel, source archive, checksums and notes of HEAD, always the same bytes.

Everything is built from the files of the commit and dated with it; hatchling writes both packages
reproducibly.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from otabuild.version import __version__

_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write dist/release; return 0, or 1 where the checkout makes no release."""
    if _git("status", "--porcelain"):
        print("error: uncommitted changes; a release is made of a commit", file=sys.stderr)
        return 1
    out = _ROOT / "dist/release"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-xC", folder], input=_git("archive", "HEAD"), check=True)
        build(Path(folder), out, epoch=_git("log", "-1", "--format=%ct").decode().strip())
        (out / "NOTES.md").write_text(notes(Path(folder)), encoding="utf-8")
    packages = sorted(path for path in out.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    sums = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in packages
    )
    (out / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(sums, end="")
    print(
        f"wrote {out.relative_to(_ROOT)}: packages, SHA256SUMS and NOTES.md of otabuild "
        f"{__version__}"
    )
    return 0


def build(source: Path, out: Path, *, epoch: str) -> None:
    """Build both packages of a source tree, dated `epoch` (Unix seconds), into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})


def notes(source: Path) -> str:
    """Return what is new: a source tree's fragments, or its changelog's section of the version."""
    if list((source / "changelog.d").glob("+*.md")):
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", __version__]
        return subprocess.run(
            command, cwd=source, check=True, capture_output=True, text=True
        ).stdout
    changelog = (source / "CHANGELOG.md").read_text(encoding="utf-8")
    _, found, section = changelog.partition(f"\n## {__version__}")
    if not found:
        sys.exit(
            f"error: CHANGELOG.md has no section {__version__}: run towncrier build --version "
            f"{__version__}"
        )
    own, _, _ = section.partition("\n## ")
    return f"## {__version__}{own}\n"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=_ROOT, check=True, capture_output=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
