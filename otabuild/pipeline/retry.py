"""Repeats work whose stored inputs turn out to be damaged, after dropping those."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from otabuild.errors import printable
from otabuild.pipeline.workspace import Workspace
from otabuild.rootfs.archive_index import ArchiveIndex
from otabuild.rootfs.content import LostContentError
from otabuild.rootfs.stream import DamagedEntriesError
from otabuild.storage.member import DamagedBlobError

T = TypeVar("T")


def retry(
    workspace: Workspace, work: Callable[[], T], remake: Callable[[], None] = lambda: None
) -> T:
    """Do some work; drop what turns out to be damaged in the work directory, and start over.

    Args:
        workspace: the workspace with the work directory.
        work: may be called several times.
        remake: makes what the work reads from the work directory.

    Raises:
        OtabuildError: the work failed for another reason, or a second time for the same.
    """
    # Each file is dropped once: what is damaged again right after it was made anew is a bad disk or
    # a bug, and must be told. There is no other bound, because each round finds the next damaged
    # file among possibly many.
    dropped: set[str] = set()
    while True:
        try:
            return work()
        except (LostContentError, DamagedEntriesError) as error:
            path = error.path if isinstance(error, DamagedEntriesError) else error.content.host_path
            if path in dropped or not _drop(workspace, path, error):
                raise
            dropped.add(path)
            workspace.warn(
                f"{printable(path)}: the stored data of an input is missing or "
                "damaged; it is recreated"
            )
            # An input itself is just read again by the work; what was kept of it has to be made.
            is_kept = _is_kept(workspace, path)
        except DamagedBlobError as damaged:
            # The cache counts as one file, because all its damaged blobs are dropped together.
            if workspace.work in dropped:
                raise
            dropped.add(workspace.work)
            workspace.warn(f"{damaged}")
            with workspace.open_cache() as cache:  # losing a cache is harmless
                cache.discard_damaged()
            is_kept = True
        if is_kept:
            remake()


def _is_kept(workspace: Workspace, path: str, folder: str = "") -> bool:
    return os.path.abspath(path).startswith(
        os.path.join(os.path.abspath(workspace.work), folder, "")
    )


def _drop(workspace: Workspace, path: str, error: LostContentError | DamagedEntriesError) -> bool:
    """Drop a damaged file; return False if it is an input, which is not ours to drop."""
    if isinstance(error, LostContentError) and error.content.stat_key is not None:
        # The file is unchanged, so the recorded digest is wrong.
        with workspace.open_cache() as cache:
            cache.forget_hashed()
        return True
    if _is_kept(workspace, path, "archives"):
        ArchiveIndex.of(path).remove()
    return _is_kept(workspace, path)
