"""Reads a whole store back, names what is damaged or missing, and mends it from an image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from otabuild.errors import IntegrityError, OtabuildError
from otabuild.format.digest import Blob, blob_name
from otabuild.image.image import Image
from otabuild.releases.parallel import REQUESTS, in_parallel
from otabuild.releases.store_survey import State, read_claim, survey
from otabuild.storage.backend import NoSuchFileError
from otabuild.storage.member import Member
from otabuild.stores.store import Store
from otabuild.tally import Progress, Tally


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that the store does not give: what is wrong, and which releases need it."""

    blob: Blob
    what: str
    releases: tuple[str, ...]
    is_repaired: bool

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "blob": self.blob.digest.hex(),
            "size": self.blob.size,
            "what": self.what,
            "releases": list(self.releases),
            "repaired": self.is_repaired,
        }


@dataclass(frozen=True, slots=True)
class CheckedStore:
    """What was found in a store.

    Attributes:
        releases: how many published releases were checked.
        blobs, size: how many blobs they need, and their bytes.
        damaged: blobs that are not right, or were not and are repaired.
        broken: published releases whose documents or claim cannot be read, with the reason.
    """

    releases: int
    blobs: int
    size: int
    damaged: tuple[Damage, ...]
    broken: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether every release is whole now."""
        return not self.broken and all(one.is_repaired for one in self.damaged)

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "ok": self.ok,
            "releases": self.releases,
            "blobs": self.blobs,
            "size": self.size,
            "damaged": [one.to_value() for one in self.damaged],
            "broken": [{"release": name, "what": what} for name, what in self.broken],
        }


def check_store(
    store: Store,
    repair_from: Image | None = None,
    *,
    workers: int = REQUESTS,
    progress: Progress | None = None,
) -> CheckedStore:
    """Read every blob of every published release, each once.

    Args:
        store: an open store.
        repair_from: an open image whose blobs are put in the place of damaged and missing ones.
        workers: how many at a time.
        progress: called with the bytes read.

    Raises:
        StoreError: the store could not be read, or cannot be listed.
    """
    needed: defaultdict[Blob, list[str]] = defaultdict(list)
    found = survey(store, workers)
    broken = [
        (one.id.name, "index.json is missing, or another")
        for one in found.releases
        if one.state is State.DAMAGED
    ]
    published = [one for one in found.releases if one.state is State.PUBLISHED]
    for release in published:
        try:
            for blob in read_claim(store, release.id):
                needed[blob].append(release.id.name)
        except OtabuildError as error:
            broken.append((release.id.name, str(error)))
    tally = Tally(sum(blob.size for blob in needed), progress)
    check = partial(_check, store, tally)
    wrong = [
        (blob, what)
        for blob, what in zip(needed, in_parallel(check, needed, workers), strict=True)
        if what
    ]
    damaged = tuple(
        Damage(blob, what, tuple(sorted(set(needed[blob]))), _repair(store, repair_from, blob))
        for blob, what in wrong
    )
    return CheckedStore(len(published), len(needed), tally.total, damaged, tuple(broken))


def _check(store: Store, tally: Tally, blob: Blob) -> str | None:
    """Return what is wrong with a blob, or None."""
    sha256, size = hashlib.sha256(), 0
    try:
        for chunk in store.chunks(blob_name(blob.digest)):
            sha256.update(chunk)
            size += len(chunk)
            tally.add(len(chunk))
            if size > blob.size:
                break
    except NoSuchFileError:
        return "missing"
    except IntegrityError as error:
        return error.what
    return None if (sha256.digest(), size) == (blob.digest, blob.size) else "damaged"


def _repair(store: Store, image: Image | None, blob: Blob) -> bool:
    """Put a blob of an image into the store, if it has it; bytes are hashed before use."""
    if image is None:
        return False
    name = blob_name(blob.digest)
    try:
        store.put(name, Member(name, blob.size, partial(image.source.chunks, name), blob.digest))
    except IntegrityError:
        return False
    return True
