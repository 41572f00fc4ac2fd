"""Work that finds what was kept of its inputs damaged: that is dropped, and the work done again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from otabuild.errors import printable
from otabuild.pipeline.workspace import Workspace
from otabuild.rootfs.content import LostContentError
from otabuild.rootfs.index import Index
from otabuild.rootfs.stream import DamagedEntriesError

T = TypeVar("T")


def mended(workspace: Workspace, work: Callable[[], T], *, scan_again: Callable[[], None] = lambda: None) -> T:
    """Do some work; where what was kept in the work directory turns out to be damaged, make that anew and start over.

    Args:
        workspace: whose work directory.
        work: may be called several times.
        scan_again: makes anew what the work reads.

    Raises:
        OtabuildError: the work failed for another reason, or a second time for the same.
    """
    dropped: set[str] = set()
    while True:
        try:
            return work()
        except (LostContentError, DamagedEntriesError) as error:
            path = error.path if isinstance(error, DamagedEntriesError) else error.content.host_path
            if path in dropped or not _drop(workspace, path, error):
                raise
            dropped.add(path)
            workspace.warn(f"{printable(path)}: what was kept of an input was lost or damaged; it is made anew")
        if _is_kept(workspace, path):
            scan_again()


def _is_kept(workspace: Workspace, path: str, folder: str = "") -> bool:
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(workspace.work), folder, ""))


def _drop(workspace: Workspace, path: str, error: LostContentError | DamagedEntriesError) -> bool:
    """Drop what does not hold; false where it is an input, which is not ours."""
    if isinstance(error, LostContentError) and error.content.stat_key is not None:
        with workspace.open_cache() as cache:  # the file is as it was, so the digest that was noted is not its own
            cache.forget_hashed()
        return True
    if _is_kept(workspace, path, "archives"):
        Index.of(path).remove()
    return _is_kept(workspace, path)
