"""Trees for the tests: written from a description, and walked without otabuild's code."""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from otabuild.rootfs.entry import Content, Entry

IS_ROOT = os.geteuid() == 0

Node = bytes | str | None
"""A file's content, a symlink's target, or None for a directory."""


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Drop the privileges of root for any user who runs the test; the path to a folder is accessible."""
    for parent in (folder, *folder.parents):
        if IS_ROOT and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    if IS_ROOT:
        os.seteuid(65534)
    try:
        yield
    finally:
        if IS_ROOT:
            os.seteuid(0)


def make_tree(root: Path, nodes: Mapping[str, Node]) -> Path:
    """Write a tree: path -> bytes for a file, str for a symlink, None for a directory."""
    root.mkdir(parents=True, exist_ok=True)
    for name, node in nodes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if node is None:
            path.mkdir(exist_ok=True)
        elif isinstance(node, bytes):
            path.write_bytes(node)
        else:
            path.symlink_to(node)
    return root


def acl(*entries: tuple[int, int]) -> bytes:
    """Return an access control list of (tag, permissions), as Linux stores it; named entries are those of id 1000."""
    named = {0x02, 0x08}
    parts = (struct.pack("<HHI", tag, bits, 1000 if tag in named else 2**32 - 1) for tag, bits in entries)
    return b"\2\0\0\0" + b"".join(parts)


def nasty_tree(root: Path, *, seed: int = 1, as_root: bool = IS_ROOT) -> Path:
    """Make a small tree with odd names, sizes, modes, links and attributes; owners and whiteouts only as root."""
    r = random.Random(seed)
    names = (
        "ファイル",
        "a b",
        "new\nline",
        "tab\t",
        "quote'\"",
        "back\\slash",
        "-dash",
        ".hidden",
        "é",
        "e\u0301",
        "n" * 255,
    )
    sizes = (0, 1, 63, 64, 65, 8191, 8192, 8193, 70_000)
    make_tree(root, {f"etc/size-{n}": r.randbytes(n) for n in sizes})
    make_tree(root, {f"home/user/{name}": name.encode() for name in names})
    make_tree(root, {"a/x": b"1", "a-b/y": b"2", "a.c": b"3", "usr/lib/abs": "/etc/size-64", "usr/lib/self": "self"})
    make_tree(
        root, {"usr/lib/long": "x" * 4000, "usr/lib/utf8": "/日本", "lib": "usr/lib", "empty": None, "opt/dup": b"1"}
    )
    make_tree(root, {"/".join(["deep" * 10] * 20) + "/leaf": b"leaf"})
    for n, mode in enumerate((0o400, 0o666, 0o1755, 0o2755, 0o4755, 0o7777)):
        make_tree(root, {f"usr/bin/mode-{mode:o}": r.randbytes(100 + n)})
        os.chmod(root / f"usr/bin/mode-{mode:o}", mode)
    for n in (0, 5, 5000):
        make_tree(root, {f"var/link-{n}": r.randbytes(n)})
        os.link(root / f"var/link-{n}", root / f"opt/link-{n}-a")
        os.link(root / f"var/link-{n}", root / f"a/link-{n}-b")
    os.link(root / "usr/lib/abs", root / "opt/abs-link", follow_symlinks=False)
    os.setxattr(root / "etc/size-65", "user.binary", bytes(range(256)))
    os.setxattr(root / "etc/size-65", "user.empty", b"")
    os.setxattr(root / "etc", "user.on-dir", b"1")
    os.chmod(root / "empty", 0o2770)
    if as_root:
        os.chown(root / "empty", 12, 34)
        os.chown(root / "etc/size-1", 1000, 2**31 + 7)
        os.lchown(root / "usr/lib/abs", 77, 88)
        os.setxattr(
            root / "usr/bin/mode-4755", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
        )
    return root


def regular(path: str, *, size: int = 0, mode: int = 0o644, link: str | None = None, at: str = "") -> Entry:
    """Return an entry of a regular file; its content does not exist anywhere unless `at` is given."""
    return Entry(path, stat.S_IFREG | mode, 0, 0, {}, None, Content(at or path, 0, size, None, None), link)


def folder(path: str, *, mode: int = 0o755, uid: int = 0) -> Entry:
    """An entry of a directory."""
    return Entry(path, stat.S_IFDIR | mode, uid, uid, {}, None, None, None)


def symlink(path: str, target: str) -> Entry:
    """An entry of a symlink."""
    return Entry(path, stat.S_IFLNK | 0o777, 0, 0, {}, target, None, None)


def paths(entries: Iterable[Entry]) -> list[str]:
    """The paths of a stream."""
    return [entry.path for entry in entries]
