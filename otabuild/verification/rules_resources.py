"""Rules about the resource table, and about the consistency of tables and blobs (section 7)."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any

from otabuild.errors import FilterError, Finding, IntegrityError, OtabuildError, TableError
from otabuild.findings import SHOWN, rule
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.digest import format_digest
from otabuild.format.filters import Bundled, Compressed, Sliced, parse_filter
from otabuild.format.index import Index
from otabuild.format.resource_table import ResourceRow
from otabuild.image.resources import NAME, ResourceTable
from otabuild.image.tables import FileTable

SizeOf = Callable[[bytes], int | None]
"""Returns the size of a blob in bytes, or None if it is missing."""


@dataclass(frozen=True, slots=True)
class ResourcesSubject:
    """The resource table, and a function for a blob's size; None leaves that to its readers.

    `judged` has the rows that the rules judge; None stands for all.
    """

    table: ResourceTable
    blob_size: SizeOf | None
    judged: _Ids | None = None

    def judges(self, resource_id: int) -> bool:
        """Whether a row matters."""
        return self.judged is None or resource_id in self.judged


@dataclass(frozen=True, slots=True)
class JoinSubject:
    """A file table and the resource table that it uses."""

    files: FileTable
    resources: ResourceTable


@dataclass(frozen=True)
class NeededSubject:
    """The resource table and every file table of the image."""

    resources: ResourceTable
    files: tuple[FileTable, ...]

    @cached_property
    def contents(self) -> _Ids:
        """Return the rows that are contents of files."""
        rows = (row for files in self.files for _, _, row in _looked_up(files, self.resources))
        return _Ids(self.resources, (row[1] for row in rows if row is not None))

    def orphans(self) -> Iterator[int]:
        """Yield the rows that are neither a content of a file nor named by a filter."""
        parts = _Ids(
            self.resources, (part for row in self.resources.rows() for part in _named_by(row))
        )
        return parts.in_neither(self.contents)


def reached_by(files: FileTable, resources: ResourceTable) -> _Ids:
    """Return the rows that are contents of one file table, and all rows that these are made of."""
    found = _Ids(
        resources, (row[1] for _, _, row in _looked_up(files, resources) if row is not None)
    )
    level = 1
    while level <= limits.FILTER_DEPTH and found.add_parts(level):
        level += 1
    return found


class _Ids:
    """A set of rows of the resource table, in nine bytes per row, however many ids filters name."""

    def __init__(self, resources: ResourceTable, ids: Iterable[int]) -> None:
        self._resources = resources
        self._known = array("q", resources.ids())
        self._marks = bytearray(len(self._known) + 1)
        for resource_id in ids:
            self._marks[self._place(resource_id)] = 1
        self._marks[-1] = 0

    def add_parts(self, level: int) -> bool:
        """Add what rows of a level (from 1) are made of, as the next; return whether it is any."""
        for row, mark in zip(self._resources.rows(), self._marks, strict=False):
            if mark == level:
                for place in map(self._place, _named_by(row)):
                    self._marks[place] = self._marks[place] or level + 1
        self._marks[-1] = 0
        return level + 1 in self._marks

    def rows(self) -> Iterator[ResourceRow]:
        """Yield these rows, in the order of their ids."""
        return compress(self._resources.rows(), self._marks)

    def in_neither(self, other: _Ids) -> Iterator[int]:
        """Yield the rows of the table that are in neither of two sets of its rows."""
        # The last mark stands for no row.
        rows = zip(self._known, self._marks, other._marks, strict=False)
        return (resource_id for resource_id, mine, theirs in rows if not mine and not theirs)

    def __contains__(self, resource_id: int) -> bool:
        return self._marks[self._place(resource_id)] > 0

    def _place(self, resource_id: int) -> int:
        at = bisect_left(self._known, resource_id)
        return at if at < len(self._known) and self._known[at] == resource_id else -1


def _looked_up(
    files: FileTable, resources: ResourceTable
) -> Iterator[tuple[bytes, int, tuple[bytes, int, int] | None]]:
    """Yield digest and size of contents not inlined, with their row (digest, id, size) or None."""
    rows = resources.database.query(
        "SELECT digest, resource_id, size FROM rs_manifest ORDER BY digest"
    )
    row: Any = next(rows, None)
    sql = "SELECT digest, size FROM ft_resource WHERE contents IS NULL AND size > 0 ORDER BY digest"
    for digest, size in files.database.query(sql):
        while row is not None and row[0] < digest:
            row = next(rows, None)
        yield digest, size, row if row is not None and row[0] == digest else None


@dataclass(frozen=True, slots=True)
class StoredSubject:
    """The files in blobs/sha256/: sizes by digest, and digests that nothing refers to."""

    index: Index
    stored: dict[bytes, int]
    unreferenced: Sequence[bytes]


def _named_by(row: ResourceRow) -> tuple[int, ...]:
    try:
        filter_ = parse_filter(row.filter_applied, "") if row.filter_applied is not None else None
    except OtabuildError:
        return ()
    match filter_:
        case Bundled():
            return (filter_.bundle_id,)
        case Compressed():
            return (filter_.resource_id,)
        case Sliced():
            return filter_.resource_ids
    return ()


@rule("resources.row", ResourcesSubject, error=IntegrityError)
def check_rows(subject: ResourcesSubject) -> Iterator[Finding]:
    """A digest has 32 bytes, a size is 0 to 16 TiB (section 7)."""
    sql = (
        "SELECT resource_id, size FROM rs_manifest WHERE length(digest) <> 32 OR "
        "size NOT BETWEEN 0 AND ?"
    )
    for resource_id, size in subject.table.database.query(sql, (limits.FILE,)):
        if subject.judges(resource_id):
            yield Finding(f"{NAME}: resource {resource_id}", "digest or size is not legal", size)


@rule("resources.filters", ResourcesSubject, error=FilterError)
def check_filters(subject: ResourcesSubject) -> Iterator[Finding]:
    """Every filter can be resolved: known, in bounds, no cycle, slices are leaves and add up
    (section 7).
    """
    errors: list[OtabuildError] = []

    def keep(error: OtabuildError) -> None:
        # `resources.row` tells digests and sizes that no content has. One more than shown, to
        # report that more exist.
        if not isinstance(error, TableError) and len(errors) <= SHOWN:
            errors.append(error)

    for _ in subject.table.groups(lambda row: subject.judges(row.resource_id) or None, keep):
        pass
    for error in errors:
        yield Finding(f"{NAME}: {error.where}", error.what, error.observed, error.expected)


@rule("resources.leaves", ResourcesSubject, error=IntegrityError)
def check_leaves(subject: ResourcesSubject) -> Iterator[Finding]:
    """A resource without a filter is a stored blob of its size (section 7).

    Kept although rebuilding contents finds the same: a shallow verification does not rebuild any.
    """
    if subject.blob_size is None:
        return
    sql = (
        "SELECT resource_id, digest, size FROM rs_manifest WHERE filter_applied IS NULL AND "
        "length(digest) = 32"
    )
    for resource_id, digest, size in subject.table.database.query(sql):
        stored = subject.blob_size(digest)
        if stored != size and subject.judges(resource_id):
            what = "blob is missing" if stored is None else "blob size differs from its resource"
            yield Finding(format_digest(digest), what, stored, size)


@rule("resources.contents", JoinSubject, error=IntegrityError)
def check_contents(subject: JoinSubject) -> Iterator[Finding]:
    """Every content that is not inlined has a row of the same size in the resource table (sections
    6 and 7).
    """
    for digest, size, row in _looked_up(subject.files, subject.resources):
        where = f"{subject.files.database.name}: {format_digest(digest)}"
        if row is None:
            yield Finding(where, "not in the resource table")
        elif row[2] != size:
            yield Finding(where, "size differs from the resource table", size, row[2])


@rule("resources.orphan", NeededSubject, severity="note")
def check_orphans(subject: NeededSubject) -> Iterator[Finding]:
    """Every resource is a content of a payload, or part of one; an unused resource is harmless."""
    for resource_id in subject.orphans():
        yield Finding(f"{NAME}: resource {resource_id}", "needed by no payload")


@rule("blobs.extra", StoredSubject, error=IntegrityError)
def check_extra(subject: StoredSubject) -> Iterator[Finding]:
    """A descriptor or the resource table names every stored blob (section 2)."""
    for digest in subject.unreferenced:
        yield Finding(format_digest(digest), "a blob that nothing refers to")


@rule("blobs.count", StoredSubject, error=IntegrityError)
def check_count(subject: StoredSubject) -> Iterator[Finding]:
    """blobs-count and blobs-size of index.json match the stored blobs (section 2)."""
    counted = {ann.BLOBS_COUNT: len(subject.stored), ann.BLOBS_SIZE: sum(subject.stored.values())}
    for key, number in counted.items():
        if subject.index.annotations.get(key) != number:
            yield Finding(
                "index.json",
                f"{key} does not count the blobs",
                subject.index.annotations.get(key),
                number,
            )
