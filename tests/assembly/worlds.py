"""Contents, caches and storages that are small enough to see whole."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from otabuild.assembly.content_store import SmallContent
from otabuild.assembly.plan import PROFILES
from otabuild.assembly.store import Environment
from otabuild.assembly.stored import StoredContent
from otabuild.assembly.tree import TreeRow
from otabuild.format.digest import Blob
from otabuild.rootfs.content import stat_key
from otabuild.rootfs.entry import Content, Entry
from otabuild.storage.cache import Cache

PLAN = replace(PROFILES["reference"], bundle_member_max=1000, bundle_max=2000)
"""Contents of 65 to 1000 bytes are bundled, in path order, up to 2000 bytes."""
FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
LATER_NS = 4_000_000_000 * 10**9
"""A time at which every file of a test was written long ago, in nanoseconds."""


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress well, and that differ by seed."""
    return (b"%d: all work and no play\n" % seed * (size // 20 + 1))[:size]


def blob(data: bytes) -> Blob:
    """Return digest and size."""
    return Blob(hashlib.sha256(data).digest(), len(data))


def content(path: Path, data: bytes) -> Content:
    """Write a host file, and return the content as a scan sees it."""
    path.write_bytes(data)
    return Content(str(path), 0, len(data), stat_key(os.stat(path)), None)


def small(name: str, data: bytes) -> SmallContent:
    """Return a member of a bundle whose bytes are in memory."""
    return SmallContent(blob(data), name, data)


def plain(data: bytes) -> StoredContent:
    """Return how a content is stored that is neither compressed nor sliced."""
    return StoredContent(blob(data), None, (blob(data),))


def stored_bytes(cache: Cache, what: Blob) -> bytes:
    """Return the bytes of a stored blob."""
    return b"".join(cache.chunks(what))


def entries(folder: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> list[Entry]:
    """Write host files, and return the entries of a tree with them in path order.

    Args:
        folder: where the host files go; it must not have them yet.
        files: the content by path in the rootfs.
        links: the hard-link group of a path, if it has one.
    """
    folder.mkdir()
    groups = links or {}
    return [
        Entry(path, FILE, 0, 0, {}, None, content(folder / str(number), files[path]), groups.get(path))
        for number, path in enumerate(sorted(files))
    ]


def environment(cache: Cache, workers: int = 2) -> Environment:
    """Return the surroundings of a build step."""
    return Environment(cache, workers, LATER_NS, lambda _done: None)


def row(path: str, data: bytes | None = None, *, mode: int = FILE, link: int | None = None, uid: int = 0) -> TreeRow:
    """Return a row of a tree; a content of at most 64 bytes is inlined."""
    return TreeRow(
        path=path,
        mode=mode,
        uid=uid,
        gid=7,
        xattrs=None,
        target="target" if stat.S_ISLNK(mode) else None,
        link=link,
        digest=None if data is None else blob(data).digest,
        size=len(data or b""),
        inline=data if data and len(data) <= 64 else None,
    )
