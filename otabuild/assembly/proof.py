"""Proves by content alone what a cache of somebody else says about a stored content.

A record of the cache that this user did not write may name any bytes. Its leaves are read once, and
must contain just the wanted contents, in the one form that `ContentStore` would have chosen; all
but the level of the compression follows from that. What cannot be proven, such as that compression
did not pay, is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from otabuild.assembly.plan import StoragePlan
from otabuild.assembly.stored import StoredContent
from otabuild.errors import IntegrityError, OtabuildError
from otabuild.format.digest import Blob, sha256_of
from otabuild.format.limits import LEAF
from otabuild.storage.cache import Cache
from otabuild.storage.zstd import decompress


def is_proven(
    stored: StoredContent, members: Sequence[Blob], plan: StoragePlan, cache: Cache
) -> bool:
    """Whether the leaves of a stored content are in the cache, and contain these members in turn.

    Args:
        stored: what a record of the cache says; nothing of it is trusted.
        members: one content, or those of a bundle.
        plan: how contents are stored.
        cache: has the leaves.
    """
    size = stored.content.size
    if (
        not _is_plain(stored)
        or size != sum(member.size for member in members)
        or not _is_form(stored, plan)
    ):
        return False
    try:
        parts = _leaves(stored, cache)
        if stored.compressed:
            parts = decompress(_hashed(parts, stored.compressed), size, size, "cache")
        # A single content may be of any size, and is never in memory as a whole.
        if len(members) == 1:
            return sha256_of(parts) == members[0].digest == stored.content.digest
        data = b"".join(parts)
    except OtabuildError:
        return False
    offset = 0
    for member in members:
        if hashlib.sha256(data[offset : offset + member.size]).digest() != member.digest:
            return False
        offset += member.size
    return len(data) == size and hashlib.sha256(data).digest() == stored.content.digest


def _is_plain(stored: StoredContent) -> bool:
    """Whether a record read from anywhere consists of digests and sizes at all."""
    blobs: list[Any] = [
        stored.content,
        *stored.leaves,
        *([stored.compressed] if stored.compressed else []),
    ]
    return bool(stored.leaves) and all(
        type(digest) is bytes and type(size) is int for digest, size in blobs
    )


def may_be_stored(stored: StoredContent, plan: StoragePlan) -> bool:
    """Whether content of this size might be stored in this form and cut into these leaves."""
    size, whole = stored.content.size, stored.compressed or stored.content
    if stored.compressed and not (
        size > plan.compress_min and whole.size * plan.compress_ratio <= size
    ):
        return False
    *full, last = (leaf.size for leaf in stored.leaves)
    return set(full) <= {LEAF} and 0 < last <= LEAF and sum(full) + last == whole.size


def _is_form(stored: StoredContent, plan: StoragePlan) -> bool:
    """Whether content of this size would be stored in this form.

    Only compressing a large one shows that it does not pay.
    """
    return may_be_stored(stored, plan) and (
        stored.compressed is not None or stored.content.size <= plan.compress_min
    )


def _leaves(stored: StoredContent, cache: Cache) -> Iterator[bytes]:
    for leaf in stored.leaves:
        yield from _hashed(cache.chunks(leaf), leaf)


def _hashed(parts: Iterator[bytes], blob: Blob) -> Iterator[bytes]:
    """Pass on the bytes of a blob.

    Raises:
        IntegrityError: after the last one, if they are not those of its digest.
    """
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
        yield part
    if hasher.digest() != blob.digest:
        raise IntegrityError("not what the digest says", where="cache")
