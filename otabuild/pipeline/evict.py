"""What a work directory keeps for later builds, and its limit. Callers hold its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from otabuild.format.json_text import load_json
from otabuild.pipeline.workspace import Workspace
from otabuild.storage import files, fs


class WorkUsage(NamedTuple):
    """Bytes and number of stored blobs, bytes of the cache on disk, and of archive indexes."""

    blobs: int
    blob_bytes: int
    cache_disk_bytes: int
    archive_bytes: int


def usage(workspace: Workspace) -> WorkUsage:
    """Return how much the work directory keeps."""
    with workspace.open_cache() as cache:
        return WorkUsage(*cache.usage(), sum(size for _, size in _archive_files(workspace)))


def evict(workspace: Workspace, limit: int, *, spare: int) -> None:
    """Evict the least recently used blobs and archive indexes until `limit` bytes are left.

    Layers of container images that no scan uses any more go first.

    Args:
        workspace: the workspace with the cache.
        limit: in bytes.
        spare: keep what was used at this time (Unix nanoseconds) or later, even if it exceeds the
            limit.
    """
    with workspace.open_cache() as cache:
        # Blobs that were never marked are not evicted. A run that ended early leaves such blobs.
        cache.mark_used([], workspace.now_ns)
        archives = sum(size for _, size in _archive_files(workspace))
        if cache.usage()[1] + archives > limit:
            archives -= _remove_unused_layers(workspace)
        cache.shrink(max(limit - archives, 0), spare)


def remove_archives(workspace: Workspace) -> None:
    """Drop the indexes of all archives; each archive is read again when it is needed."""
    fs.remove_tree(workspace.archives)


def _archive_files(workspace: Workspace) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(workspace.archives):
        for name in names:
            path = os.path.join(folder, name)
            yield path, os.lstat(path).st_size


def _remove_unused_layers(workspace: Workspace) -> int:
    """Remove every layer that is not in a list of used layers; return the bytes."""
    layers = [
        (path, size)
        for path, size in _archive_files(workspace)
        if os.path.dirname(path).endswith("layers")
    ]
    used: set[str] = set()
    for path, _ in layers:
        if path.endswith(".used"):
            try:
                used.update(load_json(files.read_file(path)))
            except (ValueError, TypeError):
                return 0  # the list will be rewritten; until then the used layers are unknown
    freed = 0
    for path, size in layers:
        if not path.endswith(".used") and os.path.basename(path).partition(".")[0] not in used:
            fs.unlink(path)
            freed += size
    return freed
