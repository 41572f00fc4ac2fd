"""The storage plan: in which form each distinct content is stored (specification, section 7).

Contents of 1 to 64 bytes stand in the file table. Small ones are bundled: members in path order, bundles cut where a
hash of the directory's name says so, so that an insertion moves one bundle only. The rest is compressed one by one
where that pays, and what is larger than a leaf is sliced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import msgpack

from otabuild.format.limits import INLINE, KIB, LEAF, MIB
from otabuild.storage.cache import Blob


@dataclass(frozen=True, slots=True)
class StoragePlan:
    """The numbers of a profile; sizes in bytes.

    Attributes:
        bundle_member_max: contents of 65 to this many bytes are bundled.
        bundle_size: no bundle grows beyond this; it is also the mean distance of the cuts.
        bundle_level: zstd level of bundles.
        compress_level: zstd level of single contents.
        compress_min: contents of at most this many bytes are stored as they are.
        compress_ratio: a frame is kept where content / frame is at least this.
        cut_by_name: cut bundles at directories that a hash of their name picks; else only by size.
    """

    bundle_member_max: int
    bundle_size: int
    bundle_level: int
    compress_level: int
    compress_min: int = 1024
    compress_ratio: float = 1.05
    cut_by_name: bool = True

    def key(self) -> list[object]:
        """All numbers, for cache keys."""
        return list(asdict(self).values())


PROFILES: Mapping[str, StoragePlan] = {
    "update": StoragePlan(bundle_member_max=8 * KIB, bundle_size=256 * KIB, bundle_level=12, compress_level=9),
    "size": StoragePlan(bundle_member_max=128 * KIB, bundle_size=4 * MIB, bundle_level=15, compress_level=15),
    "reference": StoragePlan(
        bundle_member_max=8 * KIB,
        bundle_size=32 * MIB,
        bundle_level=16,
        compress_level=9,
        compress_ratio=1.25,
        cut_by_name=False,
    ),
}


class Stored(NamedTuple):
    """How some bytes are stored: compressed or not, in one leaf or in slices (in order, repeats kept)."""

    content: Blob
    compressed: Blob | None
    leaves: tuple[Blob, ...]

    @classmethod
    def of(cls, value: Sequence[Any]) -> Self:
        """From plain lists or tuples, as MessagePack gives them back."""
        content, compressed, leaves = value
        return cls(Blob(*content), compressed and Blob(*compressed), tuple(Blob(*leaf) for leaf in leaves))


class Bundle(NamedTuple):
    """Contents stored as one: `members` lie in `stored.content` one after the other."""

    stored: Stored
    members: tuple[Blob, ...]


class Storage(NamedTuple):
    """Everything that the resource table will list, in the order in which it first came."""

    singles: list[Stored]
    bundles: list[Bundle]

    def pack(self) -> bytes:
        """The storage as bytes for a file."""
        return bytes(msgpack.packb(self))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """What `pack` made."""
        singles, bundles = msgpack.unpackb(packed)
        return cls(
            [Stored.of(single) for single in singles],
            [Bundle(Stored.of(stored), tuple(Blob(*member) for member in members)) for stored, members in bundles],
        )


class Cutter:
    """Tells where one bundle ends and the next begins; members come in path order."""

    def __init__(self, plan: StoragePlan) -> None:
        self._plan = plan
        self._size = 0
        self._count = 0
        self._directory = ""

    def starts_new(self, path: str, size: int) -> bool:
        """Whether a content of this path and size begins a new bundle."""
        directory = path.rpartition("/")[0]
        cut = self._count > 0 and (
            self._size + size > self._plan.bundle_size
            or (self._plan.cut_by_name and directory != self._directory and _is_boundary(directory))
        )
        if cut:
            self._size = self._count = 0
        self._size += size
        self._count += 1
        self._directory = directory
        return cut


def _is_boundary(directory: str) -> bool:
    """One directory in eight begins a bundle: decided by its name alone, whatever stands before it."""
    return hashlib.sha256(directory.encode()).digest()[0] % 8 == 0


def is_inlined(size: int) -> bool:
    """Whether contents of this size stand in the file table."""
    return 0 < size <= INLINE


def leaf_sizes(size: int) -> list[int]:
    """The sizes of the leaves that hold so many bytes."""
    whole, rest = divmod(size, LEAF)
    return [LEAF] * whole + ([rest] if rest else [])
