"""The storage plan: the numbers that decide how each distinct content is stored (section 7).

Contents of 1 to 64 bytes are inlined in the file table. Small contents are bundled: members are in
path order, and `chunker` decides where a bundle ends. Other contents are compressed individually if
this pays, and sliced if they are larger than a leaf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from otabuild.format.limits import INLINE, KIB, MIB


@dataclass(frozen=True, slots=True)
class StoragePlan:
    """The numbers of a profile; sizes in bytes.

    Attributes:
        bundle_member_max: contents of 65 to this many bytes are bundled.
        bundle_size: the average distance between cuts in bytes.
        bundle_max: the maximum size of a bundle.
        folder_share: the share of directories that start a bundle, 0 to 1.
        bundle_level: zstd level of bundles.
        compress_level: zstd level of single contents.
        compress_min: contents of at most this many bytes are stored uncompressed.
        compress_ratio: a frame is kept if content / frame is at least this.
        cut_by_name: whether hashes of names cut bundles; otherwise only `bundle_max` does.
    """

    bundle_member_max: int
    bundle_size: int
    bundle_max: int
    folder_share: float
    bundle_level: int
    compress_level: int
    compress_min: int = 1024
    compress_ratio: float = 1.05
    cut_by_name: bool = True

    def key(self) -> list[object]:
        """Return all numbers, for cache keys."""
        return list(asdict(self).values())


# Measured, see docs/performance.md. Levels above 9 cost bundles much time and save only 0.2 % of
# the image.
PROFILES: Mapping[str, StoragePlan] = {
    "update": StoragePlan(
        bundle_member_max=16 * KIB,
        bundle_size=64 * KIB,
        bundle_max=256 * KIB,
        folder_share=1 / 4,
        bundle_level=9,
        compress_level=9,
    ),
    "size": StoragePlan(
        bundle_member_max=256 * KIB,
        bundle_size=4 * MIB,
        bundle_max=8 * MIB,
        folder_share=1 / 64,
        bundle_level=10,
        compress_level=10,
    ),
    "reference": StoragePlan(
        bundle_member_max=8 * KIB,
        bundle_size=32 * MIB,
        bundle_max=32 * MIB,
        folder_share=0,
        bundle_level=16,
        compress_level=9,
        compress_ratio=1.25,
        cut_by_name=False,
    ),
}


def is_inlined(size: int) -> bool:
    """Whether contents of this size are inlined in the file table."""
    return 0 < size <= INLINE
