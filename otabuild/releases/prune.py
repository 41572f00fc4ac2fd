"""Withdraws releases, and removes what no release needs any more.

A withdrawn release is not offered to vehicles any more, but everything that it needs stays for a
grace time, because some are on their way to it. Pruning removes what nobody claims; why that never
breaks a release that is being published meanwhile is in docs/explanation/stores.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from otabuild.errors import InputError, StoreError
from otabuild.format.digest import format_digest
from otabuild.format.times import DAY
from otabuild.releases.about import stored_about
from otabuild.releases.layout import BLOBS, PRUNERS, ReleaseId, digest_of_key, release_file
from otabuild.releases.parallel import REQUESTS, do_all, in_parallel
from otabuild.releases.store_survey import (
    State,
    StoredRelease,
    Survey,
    check_no_strangers,
    pruners,
    read_claim,
    survey,
)
from otabuild.storage.backend import NoSuchFileError
from otabuild.storage.member import document
from otabuild.stores.store import Store, StoreFile

GRACE = 7 * DAY
"""How long a withdrawn release is kept for vehicles under way, in seconds; longer than any
publishing takes."""

_LONGEST_WRITE = DAY
"""No blob takes longer to write; what is older was left by somebody who was killed."""


class Pruning(NamedTuple):
    """What a pruner is told to do.

    Attributes:
        keep: withdraw all but this many of the releases that were published last.
        keep_since: withdraw what was published before that, Unix seconds; with both, what either
            keeps is kept.
        names: releases to withdraw.
        unfinished: remove claims of releases that nobody has finished within the grace time.
        grace: seconds.
    """

    keep: int | None = None
    keep_since: int | None = None
    names: tuple[str, ...] = ()
    unfinished: bool = False
    grace: int = GRACE


@dataclass(slots=True)
class Pruned:
    """What a pruner did, or would do.

    Attributes:
        withdrawn: releases that are no longer offered.
        removed: releases that are gone: withdrawn before the grace time, or unfinished.
        kept: how many claims still count.
        blobs: how many blobs were deleted, and `size` their bytes.
    """

    withdrawn: list[ReleaseId] = field(default_factory=list)
    removed: list[ReleaseId] = field(default_factory=list)
    kept: int = 0
    blobs: int = 0
    size: int = 0

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "withdrawn": list(map(release_value, self.withdrawn)),
            "removed": list(map(release_value, self.removed)),
            "kept": self.kept,
            "blobs": self.blobs,
            "size": self.size,
        }


def release_value(release: ReleaseId) -> dict[str, object]:
    """Return which release it is, as plain JSON values."""
    return {"name": release.name, "digest": format_digest(release.digest)}


def withdraw(store: Store, releases: Iterable[StoredRelease], since: str) -> None:
    """No longer offer releases; `since` is the time as text, for people.

    Raises:
        StoreError: the store failed; those that remain can be withdrawn again.
    """
    for release in releases:
        # A release exists by its last file, so that goes before anything says it is withdrawn.
        if release.head.last is not None and release.published is not None:
            store.delete(release.head.last.key)
        store.put(release.id.mark, document(release.id.mark, f"{since}\n".encode()))


def named(found: Survey, names: Iterable[str], where: str) -> list[StoredRelease]:
    """Return what to withdraw under these names; a withdrawn release is left as it is.

    Raises:
        InputError: there is no such release.
    """
    by_name = {release.id.name for release in found.releases}
    wanted = {*names}
    if unknown := sorted(wanted - by_name):
        known = ", ".join(sorted(by_name)) or "none"
        raise InputError(
            "no such release", where=where, observed=", ".join(unknown), expected=known
        )
    return [
        release
        for release in found.releases
        if release.id.name in wanted and not _is_withdrawn(release)
    ]


def _is_withdrawn(release: StoredRelease) -> bool:
    return release.state is State.WITHDRAWN and release.published is None


def remove_pruner(store: Store, pruner: str) -> None:
    """Remove what tells of a pruner that was killed.

    Raises:
        InputError: there is no such pruner.
        StoreError: the store failed.
    """
    known = [one.id for one in pruners(store)]
    if pruner not in known:
        expected = ", ".join(known) or "a store with a pruner"
        raise InputError("no such pruner", where=store.url, observed=pruner, expected=expected)
    store.delete(f"{PRUNERS}{pruner}")


def _chosen(found: Survey, pruning: Pruning, where: str) -> list[StoredRelease]:
    """Return which releases to withdraw: by name, by age, and those that were left half withdrawn.

    A release is withdrawn and yet offered if somebody published it again just while it was
    withdrawn.
    """
    half_done = [
        one for one in found.releases if one.state is State.WITHDRAWN and one.published is not None
    ]
    chosen = [*named(found, pruning.names, where), *half_done, *_outdated(found, pruning)]
    return list({one.id: one for one in chosen}.values())


def _outdated(found: Survey, pruning: Pruning) -> list[StoredRelease]:
    """Return the releases on offer that are neither among the newest to keep nor young enough."""
    if pruning.keep is None and pruning.keep_since is None:
        return []
    offered = [
        one for one in found.releases if one.state is State.PUBLISHED and one.published is not None
    ]
    newest_first = sorted(offered, key=lambda one: (one.published or 0, one.id), reverse=True)
    rest = newest_first[pruning.keep or 0 :]
    return [
        one
        for one in rest
        if pruning.keep_since is None or (one.published or 0) < pruning.keep_since
    ]


def plan(store: Store, pruning: Pruning, now: int, *, workers: int = REQUESTS) -> Pruned:
    """Return what `prune` would do at a time (Unix seconds); changes nothing.

    Raises:
        InputError: there is no release with a name.
        FormatError, LimitError: a claim cannot be read, so nothing could be removed.
        StoreError: the store could not be asked.
    """
    found = survey(store, workers)
    chosen = {release.id for release in _chosen(found, pruning, store.url)}
    done = Pruned(withdrawn=sorted(chosen))
    over = [
        one for one in found.releases if _is_over(one, pruning, now, withdrawn_now=one.id in chosen)
    ]
    for file in _unclaimed(store, found, over, done, workers):
        _count(done, file)
    return done


def prune(
    store: Store, pruning: Pruning, pruner: str, about: str, since: str, *, workers: int = REQUESTS
) -> Pruned:
    """Withdraw what is chosen, and remove what nobody needs any more.

    Args:
        store: where.
        pruning: what to do.
        pruner: a name that no other pruner has.
        about: who prunes and since when, for people.
        since: the time as text, for people.
        workers: how many files at a time.

    Raises:
        InputError: there is no release with a name.
        FormatError, LimitError: a claim cannot be read, so nothing is removed.
        StoreError: the store failed. The file that tells of this pruner stays, because a request
            may still be under way; the error says how to remove it.
    """
    chosen = _chosen(survey(store, workers), pruning, store.url)
    withdraw(store, chosen, since)
    # Whoever claims after this file is written sees it and waits, and earlier claims are seen here.
    key = f"{PRUNERS}{pruner}"
    store.put(key, document(key, f"{about}\n".encode()))
    try:
        done = _sweep(store, pruning, key, workers)
    except StoreError as error:
        error.hint = f"{error.hint}; " if error.hint else ""
        error.hint += (
            f"publishing waits until you remove what tells of this pruner: --remove-pruner {pruner}"
        )
        raise
    except BaseException:
        store.delete(key)
        raise
    store.delete(key)
    done.withdrawn = sorted(release.id for release in chosen)
    return done


def _sweep(store: Store, pruning: Pruning, key: str, workers: int) -> Pruned:
    """Remove what nobody needs, while the pruner's file keeps publishers from relying on it.

    The time is that of the pruner's own file, so ages are measured by one clock: the store's. It is
    taken from a list as all others are, because some servers tell whole seconds when they are asked
    for one file, and parts of them in lists.
    """
    started = [file.modified for file in store.files(PRUNERS) if file.key == key]
    found = survey(store, workers)
    now = max(started, default=0.0)
    over = [release for release in found.releases if _is_over(release, pruning, now)]
    done = Pruned()

    def delete(file: StoreFile) -> StoreFile:
        store.delete(file.key)
        return file

    for file in in_parallel(delete, _unclaimed(store, found, over, done, workers), workers):
        _count(done, file)
    _remove(store, found, over, workers)
    old = (
        file.key
        for file in store.leftovers()
        if now - file.modified >= max(pruning.grace, _LONGEST_WRITE)
    )
    do_all(store.delete, old, workers)
    return done


def _count(done: Pruned, file: StoreFile) -> None:
    done.blobs, done.size = done.blobs + 1, done.size + file.size


def _is_over(
    release: StoredRelease, pruning: Pruning, now: float, *, withdrawn_now: bool = False
) -> bool:
    """Whether the claim of a release no longer counts."""
    if withdrawn_now:
        return pruning.grace == 0
    if release.withdrawn is not None:
        return release.published is None and now - release.withdrawn >= pruning.grace
    return (
        release.state is State.UNFINISHED
        and pruning.unfinished
        and now - release.claimed >= pruning.grace
    )


def _unclaimed(
    store: Store, found: Survey, over: list[StoredRelease], done: Pruned, workers: int
) -> Iterator[StoreFile]:
    """Yield every blob that nobody claims; what is not named like a blob is not ours to remove."""
    check_no_strangers(found, store.url)
    gone = {release.id for release in over}
    kept = [release.id for release in found.releases if release.id not in gone]
    done.removed, done.kept = sorted(gone), len(kept)
    claimed: set[bytes] = set()
    for digests in in_parallel(lambda release: _digests(store, release), kept, workers):
        claimed |= digests
    for file in store.files(BLOBS):
        digest = digest_of_key(file.key)
        if digest is not None and digest not in claimed:
            yield file


def _digests(store: Store, release: ReleaseId) -> set[bytes]:
    """Return what a release claims; nothing, if another pruner has just removed it."""
    try:
        return {digest for digest, _ in read_claim(store, release)}
    except NoSuchFileError:
        return set()


def _remove(store: Store, found: Survey, over: list[StoredRelease], workers: int) -> None:
    """Remove the rest of releases whose blobs are gone, in an order that a kill may end anywhere.

    A mark goes after its claim, because a claim without a mark would count again. The files of a
    name stay if they belong to another release, which was published while this one was claimed.
    """
    gone = {release.id for release in over}
    in_use = {release.id.name for release in found.releases if release.id not in gone}
    for release in over:
        if release.id.name not in in_use:
            # Not those of the survey: its publisher may have written the last of them after that.
            do_all(
                store.delete,
                [file.key for file in store.files(release_file(release.id.name, ""))],
                workers,
            )
        do_all(store.delete, [file.key for file in stored_about(store, release.id)], workers)
        store.delete(release.id.claim)
        store.delete(release.id.mark)
    for id_ in found.marks.keys() - {release.id for release in found.releases}:
        store.delete(id_.mark)
