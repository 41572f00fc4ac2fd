"""Cuts the sequence of small contents into bundles (section 7), by content, not by position."""

from __future__ import annotations

import hashlib

from otabuild.assembly.plan import StoragePlan


class Chunker:
    """Decides where one bundle ends and the next starts; members come in path order.

    A member starts a bundle if the hash of its path, scaled by its size, says so, or if it is the
    first of a directory and the hash of the directory's name says so. Both depend only on that
    member, so an insertion changes only one bundle.
    """

    def __init__(self, plan: StoragePlan) -> None:
        self._plan = plan
        self._size = 0
        self._directory: str | None = None

    def starts_new(self, path: str, size: int) -> bool:
        """Whether a content of this path and size (in bytes) starts a new bundle."""
        directory = path.rpartition("/")[0]
        cut = self._size > 0 and (
            self._size + size > self._plan.bundle_max or self._picks(path, directory, size)
        )
        self._size = size if cut else self._size + size
        self._directory = directory
        return cut

    def _picks(self, path: str, directory: str, size: int) -> bool:
        plan = self._plan
        if not plan.cut_by_name:
            return False
        if directory != self._directory and _share(directory) < plan.folder_share * _WHOLE:
            return True
        return _share(path) * plan.bundle_size < size * _WHOLE


_WHOLE = 1 << 64


def _share(name: str) -> int:
    """Return a number in [0, 2**64) that depends only on a name and is uniformly distributed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
