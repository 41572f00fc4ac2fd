"""The storage plan: decides how each distinct content is stored (section 7).

Contents of 1 to 64 bytes are inlined in the file table. Small contents are bundled: members are in path order, and a
hash of the directory's name decides where a bundle ends, so that an insertion changes only one bundle. Other contents
are compressed individually if this pays, and sliced if they are larger than a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, NamedTuple, Self

import msgpack

from otabuild.format.limits import INLINE, KIB, MIB
from otabuild.storage.cache import Blob


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


# Measured, see docs/performance.md. Levels above 9 cost bundles much time and save only 0.2 % of the image.
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


class StoredContent(NamedTuple):
    """How bytes are stored: compressed or not, in one leaf or in slices (in order, including repeats)."""

    content: Blob
    compressed: Blob | None
    leaves: tuple[Blob, ...]

    @classmethod
    def of(cls, value: Sequence[Any]) -> Self:
        """Convert from plain lists or tuples, as MessagePack returns them."""
        content, compressed, leaves = value
        return cls(Blob(*content), compressed and Blob(*compressed), tuple(Blob(*leaf) for leaf in leaves))


class Part(NamedTuple):
    """A content inside a bundle, starting at `offset` (in bytes)."""

    blob: Blob
    offset: int


class Bundle(NamedTuple):
    """Contents stored as one, and the position of each in `stored.content`."""

    stored: StoredContent
    members: tuple[Part, ...]

    @classmethod
    def of(cls, stored: StoredContent, blobs: Iterable[Blob]) -> Self:
        """Return the bundle in which these contents are concatenated."""
        parts, offset = [], 0
        for blob in blobs:
            parts.append(Part(blob, offset))
            offset += blob.size
        return cls(stored, tuple(parts))

    @classmethod
    def read(cls, stored: Sequence[Any], members: Iterable[Sequence[Any]]) -> Self:
        """Convert from plain lists, as MessagePack returns them."""
        return cls(StoredContent.of(stored), tuple(Part(Blob(*blob), offset) for blob, offset in members))


class Storage(NamedTuple):
    """Everything that the resource table will list, in order of first occurrence."""

    singles: list[StoredContent]
    bundles: list[Bundle]

    def write(self, file: IO[bytes]) -> None:
        """Write the storage to a file, as a MessagePack sequence."""
        pack = msgpack.Packer().pack
        file.write(pack(len(self.singles)))
        for item in (*self.singles, *self.bundles):
            file.write(pack(item))

    @classmethod
    def read(cls, file: IO[bytes]) -> Self:
        """Read what `write` wrote, one item at a time, because hundreds of thousands are possible."""
        items = msgpack.Unpacker(file)
        singles = [StoredContent.of(next(items)) for _ in range(next(items))]
        return cls(singles, [Bundle.read(stored, members) for stored, members in items])


class Cutter:
    """Decides where one bundle ends and the next starts; members come in path order.

    A member starts a bundle if the hash of its path, scaled by its size, says so, or if it is the first of a directory
    and the hash of the directory's name says so. Both depend only on that member, so an insertion changes only one
    bundle.
    """

    def __init__(self, plan: StoragePlan) -> None:
        self._plan = plan
        self._size = 0
        self._directory: str | None = None

    def starts_new(self, path: str, size: int) -> bool:
        """Whether a content of this path and size (in bytes) starts a new bundle."""
        directory = path.rpartition("/")[0]
        cut = self._size > 0 and (self._size + size > self._plan.bundle_max or self._picks(path, directory, size))
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


def is_inlined(size: int) -> bool:
    """Whether contents of this size are inlined in the file table."""
    return 0 < size <= INLINE
