"""What is in a store: its releases and the state of each, and who is pruning."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from otabuild.errors import FormatError, LimitError, OtabuildError
from otabuild.format import limits
from otabuild.format.digest import Blob
from otabuild.format.index import Index
from otabuild.releases.layout import (
    CLAIMS,
    PRUNERS,
    RELEASES,
    WITHDRAWN,
    ReleaseId,
    parse_claim,
    release_file,
)
from otabuild.releases.parallel import in_parallel
from otabuild.storage.backend import NoSuchFileError
from otabuild.stores.store import Store, StoreFile

INDEX = "index.json"
TOKEN = "index.jwt"  # noqa: S105
_PRUNER = 1000


class State(StrEnum):
    """The state of a release.

    A release is published by its last file: index.jwt, or index.json if it is not signed. One whose
    publishing ended before that is unfinished. A withdrawn one is no longer offered, but what it
    needs is kept for a while. A damaged one has its last file, but index.json is missing or
    another.
    """

    PUBLISHED = "published"
    UNFINISHED = "unfinished"
    WITHDRAWN = "withdrawn"
    DAMAGED = "damaged"


class Head:
    """The documents of a name, which decide what release is there.

    Attributes:
        files: every file of the release by its name in the image, without blobs.
        index: the bytes of index.json, or None if it is missing.
        last: the file that makes the release exist, if it is there.
        digest: the SHA-256 of index.json, or None.
    """

    def __init__(self, files: Mapping[str, StoreFile], index: bytes | None = None) -> None:
        self.files, self.index = files, index
        self.last = files.get(TOKEN)
        if self.last is None and index is not None and is_unsigned(index):
            self.last = files.get(INDEX)
        self.digest = None if index is None else hashlib.sha256(index).digest()


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release that a claim tells of.

    Attributes:
        id: which it is.
        state: see `State`.
        claimed: when its claim was written, Unix seconds by the clock of the store; likewise the
            next two.
        published: when its last file was written, if it is there.
        withdrawn: when it was withdrawn, if it was.
        head: its documents.
    """

    id: ReleaseId
    state: State
    claimed: float
    published: float | None
    withdrawn: float | None
    head: Head


@dataclass(frozen=True, slots=True)
class Pruner:
    """A pruner at work, or the rest of a killed one: its id, and who it is since when."""

    id: str
    about: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a store.

    Attributes:
        releases: every release with a claim, in the order of names.
        marks: what says that releases are withdrawn.
        strangers: claims and releases that nothing here has written: keys that are not those of
            one, or a release that is offered, but that no claim tells of.
    """

    releases: tuple[StoredRelease, ...]
    marks: Mapping[ReleaseId, StoreFile]
    strangers: tuple[str, ...]


def survey(store: Store, workers: int) -> Survey:
    """Look at a whole store; each look is a request of its own, while others may be changing it.

    Releases come first, then claims: a release that is seen has a claim, unless it was removed
    meanwhile.

    Raises:
        StoreError: the store could not be asked.
    """
    heads = _heads(store, workers)
    claims, strangers = _by_release(store, CLAIMS)
    marks, _ = _by_release(store, WITHDRAWN)
    shown = {
        id_.name for id_ in claims if id_.name in heads and heads[id_.name].digest == id_.digest
    }
    releases = tuple(
        _release(
            id_, file, marks.get(id_), heads.get(id_.name) or Head({}), others=id_.name in shown
        )
        for id_, file in sorted(claims.items())
    )
    unclaimed = heads.keys() - {id_.name for id_ in claims}
    for name, head in heads.items():
        if head.last is not None and (
            name in unclaimed or (head.digest is not None and name not in shown)
        ):
            strangers.append(head.last.key)
    return Survey(releases, marks, tuple(sorted(strangers)))


def _release(
    id_: ReleaseId, claim: StoreFile, mark: StoreFile | None, head: Head, *, others: bool
) -> StoredRelease:
    """Put together what is known; with `others`, index.json of the name is that of some claim."""
    is_shown = head.last is not None and head.digest == id_.digest
    if mark is not None:
        state = State.WITHDRAWN
    elif is_shown:
        state = State.PUBLISHED
    else:
        state = State.DAMAGED if head.last is not None and not others else State.UNFINISHED
    published = head.last.modified if head.last is not None and is_shown else None
    return StoredRelease(
        id_, state, claim.modified, published, None if mark is None else mark.modified, head
    )


def _heads(store: Store, workers: int) -> dict[str, Head]:
    files: defaultdict[str, dict[str, StoreFile]] = defaultdict(dict)
    for file in store.files(RELEASES):
        name, _, inside = file.key.removeprefix(RELEASES).partition("/")
        files[name][inside] = file
    names = [name for name in files if INDEX in files[name]]
    raw = dict(
        zip(names, in_parallel(lambda name: read_index(store, name), names, workers), strict=True)
    )
    return {name: Head(found, raw.get(name)) for name, found in files.items()}


def _by_release(store: Store, folder: str) -> tuple[dict[ReleaseId, StoreFile], list[str]]:
    """Return the files of a folder by their release, and the keys that are not those of one."""
    found, strangers = dict[ReleaseId, StoreFile](), list[str]()
    for file in store.files(folder):
        id_ = ReleaseId.of_key(file.key)
        if id_ is None:
            strangers.append(file.key)
        else:
            found[id_] = file
    return found, strangers


def read_small(store: Store, key: str, limit: int) -> bytes | None:
    """Return the bytes of a small file, or None if it is missing.

    Raises:
        LimitError: over `limit` bytes.
        StoreError: the store could not be read.
    """
    found = bytearray()
    try:
        for chunk in store.chunks(key):
            found += chunk
            if len(found) > limit:
                raise LimitError("too large", where=key, expected=f"at most {limit} bytes")
    except NoSuchFileError:
        return None
    return bytes(found)


def read_index(store: Store, name: str) -> bytes | None:
    """Return the bytes of index.json of a release, or None if missing or far too large."""
    try:
        return read_small(store, release_file(name, INDEX), limits.INDEX)
    except LimitError:
        return None


def is_unsigned(index_raw: bytes) -> bool:
    """Whether an index.json is that of an image that is not signed, and is not about to be."""
    try:
        return Index.parse(index_raw).signed_at is None
    except OtabuildError:
        return False


def read_claim(store: Store, release: ReleaseId) -> Iterator[Blob]:
    """Yield the blobs that a release claims.

    Raises:
        FormatError, LimitError: it is not a claim.
        NoSuchFileError: it is missing.
        StoreError: the store could not be read.
    """
    return parse_claim(store.chunks(release.claim), release.claim)


def pruners(store: Store) -> tuple[Pruner, ...]:
    """Return who is pruning.

    Raises:
        StoreError: the store could not be asked.
    """
    return tuple(_pruner(store, file.key) for file in store.files(PRUNERS))


def _pruner(store: Store, key: str) -> Pruner:
    try:
        about = read_small(store, key, _PRUNER)
    except LimitError:
        about = None
    return Pruner(key.removeprefix(PRUNERS), (about or b"unknown").decode(errors="replace").strip())


def check_no_strangers(found: Survey, url: str) -> None:
    """Check that all that is offered or claimed is understood, before anything is removed.

    Raises:
        FormatError: it is not.
    """
    if found.strangers:
        raise FormatError(
            "claims or releases that otabuild has not written: what they need is unknown, so "
            "nothing is removed",
            where=url,
            observed=", ".join(found.strangers[:3]),
            hint=(
                "publish the release again under its name, or remove what does not "
                "belong in the store"
            ),
        )
