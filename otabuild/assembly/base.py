"""What an earlier release has already: devices fetch, and builds compress, only what is new.

If a trusted signer vouches for the release, what its table says is believed, and its blobs are not
even read until the image is written. If not, its bundles are used by their bytes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from otabuild.assembly.plan import StoragePlan
from otabuild.assembly.proof import may_be_stored
from otabuild.assembly.stored import Bundle, StoredContent
from otabuild.errors import IntegrityError
from otabuild.format.digest import Blob
from otabuild.storage.cache import Cache
from otabuild.storage.zstd import decompress


class Base:
    """An earlier release.

    Args:
        bundles: each has one leaf, compressed or not.
        read: returns the bytes of a blob of that release, checked against its digest.
        singles: how contents are stored that are in no bundle, by digest; only of a release that is
            trusted.
        is_trusted: whether a trusted signer vouches for the release.

    Attributes:
        taken: the blobs that were taken over without being read: the cache need not have them.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        read: Callable[[Blob], bytes],
        singles: Mapping[bytes, StoredContent] = MappingProxyType({}),
        *,
        is_trusted: bool = False,
    ) -> None:
        self.bundles = bundles
        self.singles = singles
        self.is_trusted = is_trusted
        self._read = read
        self.taken: set[Blob] = set()

    @cached_property
    def bundle_of(self) -> Mapping[bytes, int]:
        """Maps the digest of a content to the number of its bundle."""
        return {
            part.blob.digest: number
            for number, bundle in enumerate(self.bundles)
            for part in bundle.members
        }

    def single(self, blob: Blob, plan: StoragePlan) -> StoredContent | None:
        """Return how a content is stored by itself, if a build with this plan might store it so."""
        stored = self.singles.get(blob.digest)
        if stored is None or stored.content != blob or not may_be_stored(stored, plan):
            return None
        self.taken.update(stored.leaves)
        return stored

    def settle(self, bundle: Bundle, wanted: Sequence[Blob], cache: Cache) -> Bundle:
        """Reuse a bundle of just the wanted contents; see `take` if the release is not trusted."""
        if not self.is_trusted:
            return self.take(bundle, wanted, cache)
        places = {part.blob.digest: part for part in bundle.members}
        self.taken.update(bundle.stored.leaves)
        return Bundle.with_members(bundle.stored, (places[blob.digest] for blob in wanted))

    def take(self, bundle: Bundle, wanted: Sequence[Blob], cache: Cache) -> Bundle:
        """Store a bundle of the earlier release; only the wanted contents remain members.

        The release's description of its bundle is not trusted: every wanted content is checked
        against its digest.

        Raises:
            IntegrityError: a content is not at the place that the release names.
        """
        (leaf,) = bundle.stored.leaves
        stored = self._read(leaf)
        size = bundle.stored.content.size
        where = f"bundle {bundle.stored.content.digest.hex()} of the earlier release"
        content = stored
        if bundle.stored.compressed:
            content = b"".join(decompress([stored], size, size, where))
        places = {part.blob.digest: part for part in bundle.members}
        parts = tuple(places[blob.digest] for blob in wanted)
        for blob, offset in parts:
            if hashlib.sha256(content[offset : offset + blob.size]).digest() != blob.digest:
                raise IntegrityError(
                    "a content is not where the resource table says it is", where=where
                )
        cache.add(stored)
        return Bundle.with_members(bundle.stored, parts)
