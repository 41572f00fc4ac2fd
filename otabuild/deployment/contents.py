"""Writes the contents of a payload to their places, from old trees as far as they have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from typing import Generic, NamedTuple, TypeVar

from otabuild.deployment.kept_blobs import KeptBlobs
from otabuild.deployment.old_trees import OldTrees
from otabuild.format.digest import Blob
from otabuild.format.resource_table import ResourceRow
from otabuild.image.image import Payload
from otabuild.image.rebuild import Opener, batches, rebuild, run_parallel
from otabuild.image.resources import GroupMember
from otabuild.image.storage_form import documents_and_tables, stored_contents
from otabuild.storage import fs

T = TypeVar("T")
Fill = Callable[[int, int, str], bool]
"""Writes a content into a file: descriptor, offset and path for messages. Returns whether the
content is there."""


class Amount(NamedTuple):
    """Requests, one for each document, table and blob, and their bytes."""

    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where the bytes of a deployment came from.

    Attributes:
        planned: what the image gives if the old trees have what they seem to have; for a tree that
            was deployed from a base, what `cost` tells.
        fetched: what the image did give, from when it was opened.
        reused_contents: distinct contents that the old trees gave.
        reused_bytes: their size.
    """

    planned: Amount
    fetched: Amount
    reused_contents: int
    reused_bytes: int

    def to_value(self) -> dict[str, object]:
        """Return the numbers as plain JSON values."""
        return {
            "planned": self.planned._asdict(),
            "fetched": self.fetched._asdict(),
            "reused": {"contents": self.reused_contents, "bytes": self.reused_bytes},
        }


@dataclass
class Contents(Generic[T]):
    """The contents of a payload that are not inlined, and the places where each is to be written.

    Attributes:
        payload: of an open image.
        places_of: returns the places of a content, by digest; called in one thread at a time.
        all_places: returns the digest and the places of every content, which takes less time than
            asking for each.
        write: makes one place, called from worker threads with what fills it; returns whether the
            content is there.
        reuse: old trees, or None.
        kept: keeps what is fetched, if the image is remote.
    """

    payload: Payload
    places_of: Callable[[bytes], list[T]]
    all_places: Callable[[], Iterator[tuple[bytes, list[T]]]]
    write: Callable[[T, Fill], bool]
    reuse: OldTrees | None
    kept: KeptBlobs | None
    _left: dict[bytes, list[T]] = field(default_factory=dict)
    _reused: list[int] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def write_all(self) -> Transfer | None:
        """Write every content to its places.

        Returns where they came from, unless it was all a local image.

        Raises:
            OtabuildError: a content is not what its digest says, or cannot be read or written.
        """
        if self.reuse is None and self.kept is None:
            self._rebuild(lambda row: self.places_of(row.digest) or None)
            return None
        wanted = self.payload.contents()
        if self.reuse is not None:
            self.reuse.look_for(wanted)
        missing = {
            digest: size
            for digest, size in wanted.items()
            if self.reuse is None or not self.reuse.may_have(digest)
        }
        planned = self._leaves(missing)
        if self.kept is not None:
            self.kept.fetch(planned)  # while the old trees are copied
        if self.reuse is not None:
            reused = (
                (digest, wanted[digest], places)
                for digest, places in self.all_places()
                if digest not in missing
            )
            run_parallel(self._reuse, batches(reused))

        def still_wanted(row: ResourceRow) -> list[T] | None:
            return (
                self.places_of(row.digest) if row.digest in missing else self._left.get(row.digest)
            )

        self._rebuild(still_wanted)
        fixed = [size for sizes in documents_and_tables(self.payload) for size in sizes.values()]
        traffic = self.payload.image.source.traffic()
        fetched = (
            self._leaves({**missing, **self._left}) if self._left and traffic is None else planned
        )
        return Transfer(
            planned=_amount(planned, fixed),
            fetched=_amount(fetched, fixed) if traffic is None else Amount(*traffic),
            reused_contents=len(self._reused),
            reused_bytes=sum(self._reused),
        )

    def _leaves(self, wanted: Mapping[bytes, object]) -> list[Blob]:
        """Return the distinct blobs of contents, in the order in which they are needed."""
        found = stored_contents(self.payload.image.resources, wanted)
        return list(dict.fromkeys(Blob(*leaf) for content in found for leaf in content.leaves))

    def _reuse(self, batch: list[tuple[bytes, int, list[T]]], stop: Event) -> None:
        assert self.reuse is not None
        for digest, size, places in batch:
            if stop.is_set():
                return
            fill = partial(self.reuse.copy, digest, size)
            left = [place for place in places if not self.write(place, fill)]
            with self._lock:
                if left:
                    self._left[digest] = left
                else:
                    self._reused.append(size)

    def _rebuild(self, places_of: Callable[[ResourceRow], list[T] | None]) -> None:
        image = self.payload.image
        rebuild(image.resources.groups(places_of), image.blobs, self._write_content)

    def _write_content(self, member: GroupMember[list[T]], open_content: Opener) -> None:
        for place in member.use:
            self.write(place, partial(_fill, open_content))


def _fill(open_content: Opener, fd: int, offset: int, path: str) -> bool:
    for chunk in open_content():
        fs.pwrite(fd, chunk, offset, path)
        offset += len(chunk)
    return True


def _amount(leaves: list[Blob], fixed: list[int]) -> Amount:
    return Amount(len(leaves) + len(fixed), sum(leaf.size for leaf in leaves) + sum(fixed))
