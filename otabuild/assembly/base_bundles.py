"""Bundles of an earlier release, reused unchanged: a device with that release only fetches what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from otabuild.assembly.stored import Bundle
from otabuild.errors import IntegrityError
from otabuild.format.digest import Blob
from otabuild.storage.cache import Cache
from otabuild.storage.zstd import decompress


class Base:
    """The bundles of an earlier release.

    Args:
        bundles: the bundles; each has one leaf, compressed or not.
        read: returns the bytes of a blob of that release, checked against its digest.
    """

    def __init__(self, bundles: Sequence[Bundle], read: Callable[[Blob], bytes]) -> None:
        self.bundles = bundles
        self._read = read

    @cached_property
    def bundle_of(self) -> Mapping[bytes, int]:
        """Maps the digest of a content to the number of its bundle."""
        return {part.blob.digest: number for number, bundle in enumerate(self.bundles) for part in bundle.members}

    def take(self, bundle: Bundle, wanted: Sequence[Blob], cache: Cache) -> Bundle:
        """Store a bundle of the earlier release; only the wanted contents remain members.

        The release's description of its bundle is not trusted: every wanted content is checked against its digest.

        Raises:
            IntegrityError: a content is not at the place that the release names.
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
                raise IntegrityError("a content is not where the resource table says it is", where=where)
        cache.add(stored)
        return Bundle(bundle.stored, parts)
