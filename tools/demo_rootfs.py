"""A small rootfs made without root, with every kind of entry that an ordinary user can make."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

_OS_RELEASE = 'NAME="Demo Linux"\nVERSION_ID="1"\n'
_FOLDERS = [
    "boot",
    "dev",
    "etc",
    "home/user",
    "opt",
    "proc",
    "run",
    "sys",
    "usr/bin",
    "usr/lib",
    "usr/share",
    "var/lib",
]
_SHARED = b"the same bytes under several names\n" * 40


def make_rootfs(root: Path) -> None:
    """Write the tree; every run writes the same bytes."""
    rng = random.Random(1)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    _files(root, rng)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    (root / "opt/nowhere").symlink_to("missing/target")
    os.link(root / "usr/bin/tool", root / "usr/bin/tool-again")
    os.link(root / "usr/bin/tool", root / "opt/tool")
    modes = {
        "usr/bin/tool": 0o755,
        "usr/bin/privileged": 0o4755,
        "etc/secret": 0o600,
        "home/user": 0o2750,
    }
    for path, mode in modes.items():
        (root / path).chmod(mode)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)
    _mark(root / "etc/secret", "user.demo", b"\x00binary\xff")


def _files(root: Path, rng: random.Random) -> None:
    contents = {
        "etc/os-release": _OS_RELEASE.encode(),
        "etc/hostname": b"demo\n",
        "etc/empty": b"",
        "etc/secret": b"do not tell\n",
        "usr/bin/tool": b"\x7fELF" + rng.randbytes(20_000),
        "usr/bin/privileged": b"\x7fELF" + rng.randbytes(9_000),
        "usr/share/Grüße, 世界": b"names are UTF-8\n",
        "usr/share/copy-1": _SHARED,
        "usr/share/copy-2": _SHARED,
        "usr/lib/model.bin": rng.randbytes(33 << 20),
        "usr/lib/zeros.bin": bytes(5 << 20),
    }
    contents |= {
        f"usr/share/doc-{n}.txt": f"page {n}\n".encode() * rng.randint(1, 3000) for n in range(300)
    }
    for path, content in contents.items():
        (root / path).write_bytes(content)
        (root / path).chmod(0o644)


def _mark(path: Path, name: str, value: bytes) -> None:
    with contextlib.suppress(OSError):  # not every file system supports user attributes
        os.setxattr(path, name, value)
