"""Bundles of an earlier release: taken over as they are, a device that has the release fetches only what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from otabuild.build.plan import Bundle
from otabuild.errors import IntegrityError
from otabuild.storage.cache import Blob, Cache
from otabuild.storage.zstd import decompress


class Base:
    """What an earlier release has in bundles.

    Args:
        bundles: each of one leaf, compressed or not.
        read: gives the bytes of a blob of that release, held against its digest.
    """

    def __init__(self, bundles: Sequence[Bundle], read: Callable[[Blob], bytes]) -> None:
        self.bundles = bundles
        self._read = read

    @cached_property
    def bundle_of(self) -> Mapping[bytes, int]:
        """The number of the bundle that a content lies in, by its digest."""
        return {part.blob.digest: number for number, bundle in enumerate(self.bundles) for part in bundle.members}

    def take(self, bundle: Bundle, wanted: Sequence[Blob], cache: Cache) -> Bundle:
        """Store a bundle of the earlier release; only the wanted contents stay members.

        Nothing that the release says of its bundle is believed: every wanted content is held against its digest.

        Raises:
            IntegrityError: a content is not where the release says it is.
        """
        (leaf,) = bundle.stored.leaves
        stored = self._read(leaf)
        size = bundle.stored.content.size
        where = f"bundle {bundle.stored.content.digest.hex()} of the earlier release"
        content = b"".join(decompress([stored], size, size, where)) if bundle.stored.compressed else stored
        places = {part.blob.digest: part for part in bundle.members}
        parts = tuple(places[blob.digest] for blob in wanted)
        for blob, offset in parts:
            if hashlib.sha256(content[offset : offset + blob.size]).digest() != blob.digest:
                raise IntegrityError("a content is not where the resource table says", where=where)
        cache.add(stored)
        return Bundle(bundle.stored, parts)
