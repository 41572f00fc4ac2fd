"""What a store has, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from otabuild.errors import InputError, OtabuildError
from otabuild.format import annotations as ann
from otabuild.format.digest import format_digest
from otabuild.format.index import Index
from otabuild.format.times import utc
from otabuild.releases.about import stored_about
from otabuild.releases.parallel import REQUESTS, in_parallel
from otabuild.releases.store_survey import (
    Pruner,
    StoredRelease,
    Survey,
    pruners,
    read_claim,
    survey,
)
from otabuild.stores.store import Store


@dataclass(frozen=True, slots=True)
class Listed:
    """A release as it is listed.

    Attributes:
        release: what is known without reading its claim.
        version, platform: what index.json says, if it is there and says so.
        blobs, size: how many blobs it has, and their bytes; likewise.
    """

    release: StoredRelease
    version: str | None = None
    platform: str | None = None
    blobs: int | None = None
    size: int | None = None

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        release = self.release
        return {
            "name": release.id.name,
            "digest": format_digest(release.id.digest),
            "state": str(release.state),
            "signed": "index.jwt" in release.head.files,
            "claimed": utc(int(release.claimed)),
            "published": None if release.published is None else utc(int(release.published)),
            "withdrawn": None if release.withdrawn is None else utc(int(release.withdrawn)),
            "version": self.version,
            "platform": self.platform,
            "blobs": self.blobs,
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class StoreListing:
    """All that is in a store.

    Attributes:
        url: the store.
        releases: its releases, in the order of names.
        pruners: who is pruning, or was killed while pruning.
        strangers: see `Survey`.
    """

    url: str
    releases: tuple[Listed, ...]
    pruners: tuple[Pruner, ...]
    strangers: tuple[str, ...]

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "store": self.url,
            "releases": [one.to_value() for one in self.releases],
            "pruners": [{"id": pruner.id, "about": pruner.about} for pruner in self.pruners],
            "strangers": list(self.strangers),
        }


@dataclass(frozen=True, slots=True)
class Needs:
    """What a release needs.

    Attributes:
        listed: the release.
        blobs, size: how many blobs its claim has, and their bytes.
        own_blobs, own_size: the part of them that no other claim has: what removing it would free.
        documents: the documents about it: their names, and their bytes.
    """

    listed: Listed
    blobs: int
    size: int
    own_blobs: int
    own_size: int
    documents: Mapping[str, int]

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return self.listed.to_value() | {
            "claimed-blobs": self.blobs,
            "claimed-size": self.size,
            "own-blobs": self.own_blobs,
            "own-size": self.own_size,
            "files": sorted(self.listed.release.head.files),
            "documents": [{"name": name, "size": size} for name, size in self.documents.items()],
        }


def list_store(store: Store, *, workers: int = REQUESTS) -> StoreListing:
    """List a store.

    Raises:
        StoreError: it could not be asked, or cannot be listed.
    """
    found = survey(store, workers)
    return StoreListing(
        store.url, tuple(map(_listed, found.releases)), pruners(store), found.strangers
    )


def _listed(release: StoredRelease) -> Listed:
    if release.head.index is None or release.head.digest != release.id.digest:
        return Listed(release)
    try:
        about = Index.parse(release.head.index).annotations
    except OtabuildError:
        return Listed(release)
    version, platform = (
        about.get(key) and str(about[key]) for key in (ann.PROJECT_VERSION, ann.PLATFORM)
    )
    return Listed(release, version, platform, about.get(ann.BLOBS_COUNT), about.get(ann.BLOBS_SIZE))


def show_release(store: Store, name: str, *, workers: int = REQUESTS) -> list[Needs]:
    """Return what is claimed under a name: one release, unless two were claimed at the same moment.

    Raises:
        InputError: nothing is.
        FormatError, IntegrityError, LimitError: a claim cannot be read.
        StoreError: the store could not be asked.
    """
    found = survey(store, workers)
    wanted = [release for release in found.releases if release.id.name == name]
    if not wanted:
        raise InputError(
            "no such release", where=store.url, observed=name, expected=known_names(found)
        )
    return [_needs(store, release, found.releases, workers) for release in wanted]


def known_names(found: Survey) -> str:
    """Return the names of all releases, for messages."""
    return (
        ", ".join(sorted({release.id.name for release in found.releases}))
        or "a store that has a release"
    )


def _needs(
    store: Store, release: StoredRelease, releases: Iterable[StoredRelease], workers: int
) -> Needs:
    claimed = dict(read_claim(store, release.id))
    own = dict(claimed)
    others = [other for other in releases if other is not release]

    def shared(other: StoredRelease) -> set[bytes]:
        return {digest for digest, _ in read_claim(store, other.id) if digest in claimed}

    for digests in in_parallel(shared, others, workers):
        for digest in digests:
            own.pop(digest, None)
    about = {file.key.rpartition("/")[2]: file.size for file in stored_about(store, release.id)}
    amounts = (len(claimed), sum(claimed.values()), len(own), sum(own.values()))
    return Needs(_listed(release), *amounts, dict(sorted(about.items())))
