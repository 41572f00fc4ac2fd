"""The resource table: how each content is made of stored blobs (section 7).

A slice must be a leaf, so a content is never made by a tree: it is some concatenated leaves, and at
most four steps on top. A loop with a counter resolves it, and a cycle merely exceeds the counter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from otabuild.errors import FilterError, LimitError, OtabuildError, TableError
from otabuild.format import limits, resource_table
from otabuild.format.digest import Blob, Descriptor, format_digest
from otabuild.format.filters import Bundled, Compressed, Filter, Sliced, parse_filter
from otabuild.format.resource_table import ResourceRow
from otabuild.image.blobs import Blobs, Chunk, verified
from otabuild.image.tables import open_table
from otabuild.storage.sqlite_read import Database
from otabuild.storage.zstd import decompress

NAME = "resource table"
_COLUMNS = "SELECT resource_id, digest, size, filter_applied FROM rs_manifest"
_WITH_BUNDLE = """SELECT made.resource_id, made.digest, made.size, made.filter_applied,
    bundle_of(made.filter_applied) AS bundle FROM rs_manifest AS made"""
_BY_BUNDLE = f"{_WITH_BUNDLE} ORDER BY bundle, made.resource_id"
_BY_BLOB = f"""{_WITH_BUNDLE}
    LEFT JOIN rs_manifest AS base ON base.resource_id = base_of(made.filter_applied)
    LEFT JOIN rs_manifest AS under ON under.resource_id = base_of(base.filter_applied)
    ORDER BY coalesce(under.digest, base.digest, made.digest), bundle, made.resource_id"""
"""A bundled content is made of a bundle, which is made of a blob; so two steps lead to the first
blob of nearly all."""
_BATCH_COUNT, _BATCH_BYTES = 64, 8 << 20
_LOOKED_UP = 500
"""Rows for one query by digest."""

U = TypeVar("U")
OnError = Callable[[OtabuildError], None]


class FilterStep(NamedTuple):
    """A step on the bytes so far, whose result is a resource of that `size` and digest."""

    filter: Filter
    digest: bytes
    size: int


class Plan(NamedTuple):
    """How to make a resource: the concatenated blobs, then the steps in order."""

    leaves: tuple[Blob, ...]
    steps: tuple[FilterStep, ...]

    @property
    def effort(self) -> int:
        """The bytes to read and to make, in all steps."""
        return sum(leaf.size for leaf in self.leaves) + sum(step.size for step in self.steps)

    def stream(self, blobs: Blobs, check: Callable[[], None] = lambda: None) -> Iterator[Chunk]:
        """Yield the content in parts, trusted only after the last. Every step is verified, too.

        Args:
            blobs: the blobs of the image.
            check: called with every part of every step, however few parts come out of the last;
                what it raises ends it.

        Raises:
            IntegrityError: a blob or the result of a step is not the expected one.
            BoundsError: the bounds of the image are exceeded.
        """
        whole = (
            "resource "
            f"{format_digest(self.steps[-1].digest if self.steps else self.leaves[0].digest)}"
        )
        blobs.budget.spend(self.effort, whole)

        def watched(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
            for chunk in chunks:
                check()
                blobs.budget.check_time(whole)
                yield chunk

        chunks = watched(chain.from_iterable(blobs.stream(*leaf) for leaf in self.leaves))
        for step in self.steps:
            where = f"resource {format_digest(step.digest)}"
            if isinstance(step.filter, Compressed):
                chunks = decompress(chunks, step.size, limits.FILE, where, blobs.compat)
            elif isinstance(step.filter, Bundled):
                chunks = _cut(chunks, step.filter.offset, step.filter.length)
            chunks = watched(verified(chunks, step.digest, step.size, where))
        return chunks


def _cut(chunks: Iterable[Chunk], offset: int, length: int) -> Iterator[memoryview]:
    """Yield the bytes from `offset` on; those around them are also read, to verify them."""
    start, end = offset, offset + length
    for chunk in chunks:
        part = memoryview(chunk)[max(start, 0) : max(end, 0)]
        if part:
            yield part
        start -= len(chunk)
        end -= len(chunk)


class GroupMember(NamedTuple, Generic[U]):
    """A content of a group: its row, and how to make it (`plan`) or where in the bundle it is.

    `use` is what the caller wants the content for.
    """

    row: ResourceRow
    use: U
    plan: Plan | None
    offset: int


class Group(NamedTuple, Generic[U]):
    """Contents that are made together: all wanted ones of a bundle, or a few without a bundle."""

    bundle: Plan | None
    bundle_size: int
    members: list[GroupMember[U]]


class ResourceTable:
    """An open resource table."""

    statements = (*resource_table.TABLES, *resource_table.INDEXES)

    def __init__(self, database: Database) -> None:
        self.database = database
        database.define("bundle_of", _bundle_of)
        database.define("base_of", _base_of)

    @classmethod
    def open(cls, blobs: Blobs, descriptor: Descriptor) -> ResourceTable:
        """Open the resource table of an image; raises the same errors as `open_table`."""
        return cls(open_table(blobs, descriptor, cls.statements, NAME, resource_table.EARLY))

    def rows(self) -> Iterator[ResourceRow]:
        """Yield every row."""
        return (
            ResourceRow(*row) for row in self.database.query(f"{_COLUMNS} ORDER BY resource_id")
        )

    def ids(self) -> Iterator[int]:
        """Yield the id of every row, in order."""
        return (
            row[0]
            for row in self.database.query(
                "SELECT resource_id FROM rs_manifest ORDER BY resource_id"
            )
        )

    def leaves(self) -> dict[bytes, int]:
        """Return the size in bytes of every stored blob that a row stands for, by digest."""
        sql = (
            "SELECT digest, size FROM rs_manifest WHERE filter_applied IS "
            "NULL AND length(digest) = 32"
        )
        return dict(self.database.query(sql))

    def by_id(self, resource_id: int, wanted_by: str) -> ResourceRow:
        """Return the row of an id.

        Raises:
            FilterError: the id does not exist; `wanted_by` names what requested it.
            TableError: its digest or its size is one that no content has.
        """
        for row in self.database.query(f"{_COLUMNS} WHERE resource_id = ?", (resource_id,)):
            return _checked(ResourceRow(*row))
        raise FilterError(
            "refers to a resource that does not exist", where=wanted_by, observed=resource_id
        )

    def by_digest(self, digest: bytes) -> ResourceRow | None:
        """Return the row of a content, or None."""
        for row in self.database.query(f"{_COLUMNS} WHERE digest = ?", (digest,)):
            return ResourceRow(*row)
        return None

    def plan(self, row: ResourceRow, above: int = 0) -> Plan:
        """Return how to make a resource that `above` more steps will use.

        Raises:
            FilterError: a filter cannot be parsed, or its target is missing, out of bounds, in a
                cycle, or too deep.
            LimitError: a bundle over 64 MiB, or too many slices.
            TableError: a digest or a size that no content has.
        """
        where, steps = f"resource {row.resource_id}", list[FilterStep]()
        _checked(row)
        while row.filter_applied is not None:
            if len(steps) + above == limits.FILTER_DEPTH:
                raise FilterError(
                    "filters in a circle, or nested too deeply",
                    where=where,
                    expected=limits.FILTER_DEPTH,
                )
            here = f"resource {row.resource_id}"
            filter_ = parse_filter(row.filter_applied, here)
            steps.append(FilterStep(filter_, row.digest, row.size))
            # A slice is a leaf (section 7): nothing can be below.
            if isinstance(filter_, Sliced):
                return Plan(self._slices(filter_, row, here), tuple(reversed(steps)))
            base_id = filter_.bundle_id if isinstance(filter_, Bundled) else filter_.resource_id
            base = self.by_id(base_id, here)
            if isinstance(filter_, Bundled):
                check_bundle(filter_, row, base, here)
            row = base
        return Plan((Blob(row.digest, row.size),), tuple(reversed(steps)))

    def _slices(self, filter_: Sliced, row: ResourceRow, where: str) -> tuple[Blob, ...]:
        # Ids may repeat, and there may be 65,536 (section 7): each is looked up once.
        known: dict[int, Blob] = {}
        for resource_id in filter_.resource_ids:
            if resource_id not in known:
                part = self.by_id(resource_id, where)
                if part.filter_applied is not None:
                    raise FilterError(
                        "a slice that is itself filtered", where=where, observed=resource_id
                    )
                known[resource_id] = Blob(part.digest, part.size)
        leaves = tuple(known[resource_id] for resource_id in filter_.resource_ids)
        total = sum(leaf.size for leaf in leaves)
        if total != row.size:
            raise FilterError(
                "the slices do not add up to its size",
                where=where,
                observed=total,
                expected=row.size,
            )
        return leaves

    def groups(
        self,
        use_of: Callable[[ResourceRow], U | None],
        on_error: OnError | None = None,
        *,
        by_blob: bool = False,
    ) -> Iterator[Group[U]]:
        """Yield the wanted contents, grouped so that each bundle is made once.

        Args:
            use_of: returns what a row is wanted for, or None if it is not wanted.
            on_error: receives the error of a row that cannot be resolved; without it, the first
                error is raised.
            by_blob: whether to yield them in the order of the digests of their blobs, as an
                artifact stores these.

        Raises:
            FilterError, LimitError, TableError: as `plan`.
        """
        found = self.database.query(_BY_BLOB if by_blob else _BY_BUNDLE)
        return self._grouped(found, use_of, on_error or _raise)

    def groups_of(self, digests: Iterable[bytes]) -> Iterator[Group[bytes]]:
        """Yield the contents with these digests as `groups` does, but look them up in the table.

        Raises:
            FilterError, LimitError, TableError: as `plan`.
        """
        left, found = iter(digests), list[tuple[Any, ...]]()
        while some := tuple(islice(left, _LOOKED_UP)):
            found += self.database.query(
                f"{_WITH_BUNDLE} WHERE made.digest IN ({','.join('?' * len(some))})", some
            )
        found.sort(key=lambda row: (-1 if row[4] is None else row[4], row[0]))
        return self._grouped(found, attrgetter("digest"), _raise)

    def _grouped(
        self,
        found: Iterable[tuple[Any, ...]],
        use_of: Callable[[ResourceRow], U | None],
        report: OnError,
    ) -> Iterator[Group[U]]:
        """Yield the wanted ones of rows that are sorted by bundle, the fifth column."""
        for bundle_id, group in groupby(found, key=itemgetter(4)):
            rows = (ResourceRow(*row[:4]) for row in group)
            if bundle_id is None:
                yield from _batches(self._singles(rows, use_of, report))
                continue
            wanted = [(row, use) for row in rows if (use := use_of(row)) is not None]
            if not wanted:  # a bundle that nobody wants may be broken
                continue
            try:
                bundle = self.by_id(bundle_id, f"bundle {bundle_id}")
                plan = self.plan(bundle, above=1)
            except OtabuildError as error:
                report(error)
                continue
            if members := list(_bundled(wanted, bundle, report)):
                yield Group(plan, bundle.size, members)

    def _singles(
        self,
        rows: Iterable[ResourceRow],
        use_of: Callable[[ResourceRow], U | None],
        report: OnError,
    ) -> Iterator[GroupMember[U]]:
        for row in rows:
            if (use := use_of(row)) is None:
                continue
            try:
                plan = self.plan(row)
            except OtabuildError as error:
                report(error)
            else:
                yield GroupMember(row, use, plan, 0)

    def close(self) -> None:
        """Close the table."""
        self.database.close()


def _raise(error: OtabuildError) -> None:
    raise error


def _batches(members: Iterable[GroupMember[U]]) -> Iterator[Group[U]]:
    batch: list[GroupMember[U]] = []
    total = 0
    for member in members:
        batch.append(member)
        total += member.row.size
        if len(batch) == _BATCH_COUNT or total >= _BATCH_BYTES:
            yield Group(None, 0, batch)
            batch, total = [], 0
    if batch:
        yield Group(None, 0, batch)


def _bundled(
    wanted: Iterable[tuple[ResourceRow, U]], bundle: ResourceRow, report: OnError
) -> Iterator[GroupMember[U]]:
    for row, use in wanted:
        where = f"resource {row.resource_id}"
        try:
            filter_ = parse_filter(row.filter_applied or b"", where)
            if not isinstance(filter_, Bundled):
                raise FilterError("not a bundled resource", where=where)
            check_bundle(filter_, _checked(row), bundle, where)
        except OtabuildError as error:
            report(error)
        else:
            yield GroupMember(row, use, None, filter_.offset)


def _checked(row: ResourceRow) -> ResourceRow:
    """Return a row that something is made of; its numbers are used before contents are checked."""
    if len(row.digest) != 32 or not 0 <= row.size <= limits.FILE:
        seen = f"digest of {len(row.digest)} bytes, size {row.size}"
        raise TableError(
            "a digest or a size that no content has",
            where=f"resource {row.resource_id}",
            observed=seen,
        )
    return row


def check_bundle(filter_: Bundled, row: ResourceRow, bundle: ResourceRow, where: str) -> None:
    """Check a bundled resource against its bundle.

    Raises:
        LimitError: the bundle is over 64 MiB.
        FilterError: the range is outside the bundle, or has a different size than the resource.
    """
    # Whoever wants one of its contents holds all of it in memory.
    if bundle.size > limits.BUNDLE:
        raise LimitError(
            "bundle too large",
            where=where,
            observed=bundle.size,
            expected=f"at most {limits.BUNDLE}",
        )
    if filter_.length != row.size or filter_.offset + filter_.length > bundle.size:
        raise FilterError(
            "the range is outside the bundle, or its size differs from the resource's",
            where=where,
            observed=f"{filter_.length} bytes from {filter_.offset} on",
            expected=f"{row.size} bytes within {bundle.size}",
        )


def _bundle_of(filter_applied: bytes | None) -> int | None:
    """Return the bundle that a filter cuts from, as a sort key; None for other filters."""
    if filter_applied is None or filter_applied[:2] != b"b:":
        return None
    return _base_of(filter_applied)


def _base_of(filter_applied: bytes | None) -> int | None:
    """Return the resource that a filter begins with, as a sort key; None without a valid one."""
    try:
        filter_ = parse_filter(filter_applied or b"", "")
    except OtabuildError:
        return None
    return filter_.resource_ids[0] if isinstance(filter_, Sliced) else filter_[0]
