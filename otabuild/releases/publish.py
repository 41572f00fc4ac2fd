"""Publishes a release: a claim first, the last file last, and in between only what the store lacks.

Why no release can break, whoever publishes and prunes at the same time, is in
docs/explanation/stores.md, and the order of every step below is tested by leaving it out
(tests/releases/test_protocol.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from otabuild.errors import FormatError, IntegrityError, LimitError, StateError, StoreError
from otabuild.format import limits
from otabuild.format.digest import Blob, format_digest
from otabuild.format.release_name import check_release_name
from otabuild.format.sizes import counted, human_size
from otabuild.releases.about import About, put_about
from otabuild.releases.layout import (
    BLOBS,
    CLAIMS,
    ReleaseId,
    describe,
    digest_of_key,
    print_claim,
    release_file,
)
from otabuild.releases.parallel import REQUESTS, do_all, in_parallel
from otabuild.releases.store_survey import (
    INDEX,
    TOKEN,
    State,
    StoredRelease,
    is_unsigned,
    pruners,
    read_claim,
    read_index,
    read_small,
    survey,
)
from otabuild.storage.member import Member, document
from otabuild.stores.store import Store
from otabuild.tally import Progress, Tally

_LOOKS = 10
"""How often a pruner may have removed our claim and be gone before we look, until it is the list
that is wrong."""
Pause = Callable[[str], bool]
"""Called with what is waited for; returns whether to look again."""


@dataclass(frozen=True, slots=True)
class ReleaseContents:
    """What a release consists of.

    Attributes:
        index: the bytes of index.json.
        token: the bytes of index.jwt, or None if the image is not signed.
        blobs: every blob by its digest.
        documents: all other files of the image.
    """

    index: bytes
    token: bytes | None
    blobs: Mapping[bytes, Member]
    documents: tuple[Member, ...]

    @classmethod
    def of(cls, members: Iterable[Member]) -> Self:
        """Sort the files of an image.

        Raises:
            IntegrityError: it has no index.json.
        """
        by_name = {member.name: member for member in members if not member.name.endswith("/")}
        whole = {
            name: b"".join(by_name.pop(name).read()) for name in (INDEX, TOKEN) if name in by_name
        }
        if INDEX not in whole:
            raise IntegrityError("not an OTA image: index.json is missing")
        blobs = {
            digest: by_name.pop(name)
            for name in list(by_name)
            if (digest := digest_of_key(name)) is not None
        }
        return cls(whole[INDEX], whole.get(TOKEN), blobs, tuple(by_name.values()))

    @property
    def total(self) -> list[Blob]:
        """What its claim says."""
        return [Blob(digest, member.size) for digest, member in self.blobs.items()]


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did.

    Attributes:
        name: the release.
        digest: of its index.json, as `sha256:…`.
        blobs: how many it has, and `size` their bytes.
        uploaded: how many of them the store lacked, and `uploaded_size` their bytes.
        was_there: whether it was published already, with the same bytes.
        is_complete_upload: whether everything was uploaded because the store cannot be listed.
        documents: the ends of the names of the documents about it.
    """

    name: str
    digest: str
    blobs: int
    size: int
    uploaded: int = 0
    uploaded_size: int = 0
    was_there: bool = False
    is_complete_upload: bool = False
    documents: tuple[str, ...] = ()

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "name": self.name,
            "digest": self.digest,
            "blobs": self.blobs,
            "size": self.size,
            "uploaded": self.uploaded,
            "uploaded-size": self.uploaded_size,
            "was-there": self.was_there,
            "uploaded-all": self.is_complete_upload,
            "documents": list(self.documents),
        }

    def describe(self) -> str:
        """Say it in one line."""
        if self.was_there:
            return f"{self.name}  was published already, with the same bytes"
        new = f"{counted(self.uploaded, 'blob')}, {human_size(self.uploaded_size)}"
        return (
            f"{self.name}  uploaded {new} of {counted(self.blobs, 'blob')}, {human_size(self.size)}"
        )


def publish(
    store: Store,
    name: str,
    contents: ReleaseContents,
    *,
    about: About = MappingProxyType({}),
    workers: int = REQUESTS,
    pause: Pause = lambda _why: False,
    progress: Progress | None = None,
) -> Published:
    """Publish a release whose files were checked; after a kill, the next call uploads what is left.

    Documents about it may come later, and replace earlier ones: they are not what a vehicle
    fetches.

    Args:
        store: where to.
        name: of the release.
        contents: its files.
        about: documents about it.
        workers: how many files at a time.
        pause: called while somebody prunes.
        progress: called with the bytes of blobs that were uploaded.

    Raises:
        InputError: not a name for a release.
        StateError: other bytes are published or claimed under this name, or somebody prunes and
            `pause` gave up.
        DamagedBlobError: a file is not what its digest says.
        StoreError: the store failed; the claim remains, so the next call goes on from here.
    """
    check_release_name(name)
    release = ReleaseId(name, hashlib.sha256(contents.index).digest())
    digest, amount = format_digest(release.digest), _amount(contents.blobs.values())
    if _is_published(store, release, contents):
        put_about(store, release, about)
        return Published(name, digest, *amount, was_there=True, documents=tuple(about))
    # Before anything is written: a name that is taken by mistake leaves no claim behind.
    was_claimed = _check_rivals(store, release) if store.can_list else False
    _claim(store, release, contents, pause)
    missing = _missing(store, contents, was_claimed=was_claimed, workers=workers)
    put_about(store, release, about)
    # A release exists by its last file: index.jwt, or index.json where that is not signed.
    _upload(store, missing, workers, progress)
    _put_all(store, release, contents.documents, workers)
    store.put(release_file(name, INDEX), document(INDEX, contents.index))
    if contents.token is not None:
        store.put(release_file(name, TOKEN), document(TOKEN, contents.token))
    return Published(
        name,
        digest,
        *amount,
        *_amount(missing),
        is_complete_upload=not store.can_list,
        documents=tuple(about),
    )


def _amount(members: Iterable[Member]) -> tuple[int, int]:
    sizes = [member.size for member in members]
    return len(sizes), sum(sizes)


def _is_published(store: Store, release: ReleaseId, contents: ReleaseContents) -> bool:
    """Return whether just these bytes are published.

    A release whose claim is missing or withdrawn is not.

    Raises:
        StateError: other bytes are.
    """
    index = read_index(store, release.name)
    try:
        token = read_small(store, release_file(release.name, TOKEN), limits.JWT)
    except LimitError:
        token = b""
    if token is None and (index is None or not is_unsigned(index)):
        return False
    is_same = index == contents.index if token is None else token == contents.token
    if not is_same:
        raise StateError(
            "this release is published, with other bytes, and a release never changes",
            where=f"{store.url}: {release.name}",
            observed="nothing readable"
            if index is None
            else format_digest(hashlib.sha256(index).digest()),
            expected=format_digest(release.digest),
            hint="publish under another name",
        )
    is_whole = index == contents.index  # else it is damaged, and written again
    return is_whole and store.stat(release.claim) is not None and store.stat(release.mark) is None


def _check_rivals(store: Store, release: ReleaseId) -> bool:
    """Check that no other release is claimed under the name; return whether this one is.

    Our own claim remains even if there is a rival: somebody else who publishes the same bytes may
    rely on it.

    Raises:
        StateError: another one is.
    """
    claimed = {ReleaseId.of_key(file.key) for file in store.files(CLAIMS)}
    for rival in claimed:
        if rival is not None and rival.name == release.name and rival != release:
            raise StateError(
                "this name is claimed for other bytes",
                where=f"{store.url}: {release.name}",
                observed=describe(rival),
                expected=describe(release),
                hint="use another name; if nobody publishes it now, `otabuild store prune "
                "--unfinished` frees the name, and so it does for a withdrawn release, when its "
                "grace time is over",
            )
    return release in claimed


def _claim(store: Store, release: ReleaseId, contents: ReleaseContents, pause: Pause) -> None:
    """Claim every blob, and see that neither a rival nor a pruner can have missed the claim.

    A pruner that begins later sees the claim. One that is at work may have looked before, and may
    even remove the claim if it is an old one that nobody finished or that was withdrawn. So all is
    done again when it has ended, also if it ended just before we looked for it, which shows in the
    list of claims.
    """
    claim = print_claim(contents.total)
    unseen = 0
    while unseen < _LOOKS:
        store.delete(release.mark)
        store.put(release.claim, document(release.claim, claim))
        if not store.can_list:
            return
        at_work = pruners(store)
        if at_work:
            _wait(store, "; ".join(f"{pruner.id}: {pruner.about}" for pruner in at_work), pause)
        elif _check_rivals(store, release):
            return
        else:
            unseen += 1
    raise StoreError(
        "what was just written is not in the list of this store",
        where=f"{store.url}/{release.claim}",
        hint=(
            "do not publish through a cache; a web server must list by PROPFIND, or "
            "say that it cannot"
        ),
    )


def _wait(store: Store, about: str, pause: Pause) -> None:
    if not pause(about):
        raise StateError(
            "somebody is pruning this store",
            where=store.url,
            observed=about,
            hint=(
                "try again, or use --wait; if that pruner was killed, `otabuild store prune "
                "--remove-pruner ID`"
            ),
        )


def _missing(
    store: Store, contents: ReleaseContents, *, was_claimed: bool, workers: int
) -> list[Member]:
    """Return the blobs that the store may lack; must come after the claim.

    With the claim in place and no pruner at work, nothing that is in the store and in the claim can
    go away. Claims of published releases tell what is there. If this release was claimed before,
    its publishing was interrupted: the blobs are listed, which takes longer where there are many,
    but tells what was uploaded by then.
    """
    wanted = {digest: member.size for digest, member in contents.blobs.items()}
    if was_claimed:
        present = ((digest_of_key(file.key), file.size) for file in store.files(BLOBS))
        held = {
            digest for digest, size in present if digest is not None and wanted.get(digest) == size
        }
    else:
        held = held_blobs(store, wanted, workers=workers)
    return [member for digest, member in contents.blobs.items() if digest not in held]


def held_blobs(store: Store, wanted: Mapping[bytes, int], *, workers: int = REQUESTS) -> set[bytes]:
    """Return which blobs (size by digest) published releases have; none if there is no list.

    Raises:
        StoreError: the store could not be asked.
    """
    if not store.can_list:
        return set()
    whole = [
        release for release in survey(store, workers).releases if release.state is State.PUBLISHED
    ]
    found = in_parallel(lambda release: _claimed(store, release, wanted), whole, workers)
    return {digest for digests in found for digest in digests}


def _claimed(store: Store, release: StoredRelease, wanted: Mapping[bytes, int]) -> list[bytes]:
    """Return which blobs a published release has; an unreadable claim vouches for nothing."""
    try:
        return [
            digest for digest, size in read_claim(store, release.id) if wanted.get(digest) == size
        ]
    except (FormatError, LimitError, IntegrityError):
        return []


def _upload(store: Store, missing: list[Member], workers: int, progress: Progress | None) -> None:
    tally = Tally(sum(member.size for member in missing), progress)

    def put(member: Member) -> None:
        store.put(member.name, member)
        tally.add(member.size)

    do_all(put, missing, workers)


def _put_all(store: Store, release: ReleaseId, documents: Iterable[Member], workers: int) -> None:
    do_all(
        lambda member: store.put(release_file(release.name, member.name), member),
        documents,
        workers,
    )
