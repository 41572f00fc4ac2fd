"""How each content is stored: what the store step finds out, and the resource table will list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any, NamedTuple, Self

import msgpack

from otabuild.format.digest import Blob


class StoredContent(NamedTuple):
    """How bytes are stored: compressed or not, in one leaf or in slices (in order, repeats too)."""

    content: Blob
    compressed: Blob | None
    leaves: tuple[Blob, ...]

    @classmethod
    def of(cls, value: Sequence[Any]) -> Self:
        """Convert from plain lists or tuples, as of MessagePack; equal blobs become one object."""
        content, compressed, leaves = value
        known: dict[Blob, Blob] = {}

        def blob(raw: Sequence[Any]) -> Blob:
            return known.setdefault(made := Blob(*raw), made)

        return cls(blob(content), compressed and blob(compressed), tuple(map(blob, leaves)))


class BundleMember(NamedTuple):
    """A content inside a bundle, starting at `offset` (in bytes)."""

    blob: Blob
    offset: int


class Bundle(NamedTuple):
    """Contents stored as one, and the position of each in `stored.content`.

    Millions of members are possible, so they are packed: 42 bytes each, not 200.
    """

    stored: StoredContent
    packed: bytes

    @classmethod
    def of(cls, stored: StoredContent, blobs: Iterable[Blob]) -> Self:
        """Return the bundle in which these contents are concatenated."""
        parts, offset = [], 0
        for blob in blobs:
            parts.append(BundleMember(blob, offset))
            offset += blob.size
        return cls.with_members(stored, parts)

    @classmethod
    def with_members(cls, stored: StoredContent, members: Iterable[BundleMember]) -> Self:
        """Return the bundle in which these contents are at these positions."""
        return cls(
            stored,
            bytes(msgpack.packb([value for blob, offset in members for value in (*blob, offset)])),
        )

    @property
    def members(self) -> tuple[BundleMember, ...]:
        """Return the contents."""
        values = iter(msgpack.unpackb(self.packed))
        return tuple(
            BundleMember(Blob(*blob), offset)
            for *blob, offset in zip(values, values, values, strict=True)
        )


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
        """Read what `write` wrote, one item at a time: hundreds of thousands are possible."""
        items = msgpack.Unpacker(file)
        singles = [StoredContent.of(next(items)) for _ in range(next(items))]
        return cls(singles, [Bundle(StoredContent.of(stored), packed) for stored, packed in items])
