"""Rules about the resource table, and about how the tables and the blobs fit together (specification, section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from otabuild.errors import FilterError, IntegrityError, OtabuildError
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.digest import format_digest
from otabuild.format.filters import Bundled, Compressed, Sliced, parse_filter
from otabuild.format.index import Index
from otabuild.format.resource_table import ResourceRow
from otabuild.image.findings import Problem, rule
from otabuild.image.resources import NAME, ResourceTable
from otabuild.image.tables import FileTable


@dataclass(frozen=True, slots=True)
class ResourcesSubject:
    """The resource table, and how large a stored blob is (None: missing)."""

    table: ResourceTable
    blob_size: Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class JoinSubject:
    """A file table and the resource table that it draws from."""

    files: FileTable
    resources: ResourceTable


@dataclass(frozen=True)
class NeededSubject:
    """The resource table and every file table of the image."""

    resources: ResourceTable
    files: tuple[FileTable, ...]

    def is_content(self, row: ResourceRow) -> bool:
        """Whether a row is the content of a file."""
        return any(
            next(files.database.query("SELECT 1 FROM ft_resource WHERE digest = ?", (row.digest,)), None)
            for files in self.files
        )

    @cached_property
    def referenced(self) -> set[int]:
        """The ids that any filter names."""
        found: set[int] = set()
        for row in self.resources.rows():
            found.update(_named_by(row))
        return found


@dataclass(frozen=True, slots=True)
class StoredSubject:
    """What lies in blobs/sha256/: digests, and the sum of the sizes; `known` says whether anything refers to one."""

    index: Index
    stored: dict[bytes, int]
    known: Callable[[bytes], bool]


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
def check_rows(subject: ResourcesSubject) -> Iterator[Problem]:
    """A digest has 32 bytes, a size is 0 to 16 TiB (section 7).

    Stays, though rebuilding contents finds the same: a shallow verification rebuilds none.
    """
    sql = "SELECT resource_id, size FROM rs_manifest WHERE length(digest) <> 32 OR size NOT BETWEEN 0 AND ?"
    for resource_id, size in subject.table.database.query(sql, (limits.FILE,)):
        yield Problem(f"{NAME}: resource {resource_id}", "digest or size is not legal", size)


@rule("resources.filters", ResourcesSubject, error=FilterError)
def check_filters(subject: ResourcesSubject) -> Iterator[Problem]:
    """Every filter can be resolved: known, in bounds, without a circle, slices are leaves and add up (section 7)."""
    errors: list[OtabuildError] = []
    for _ in subject.table.groups(lambda _: True, errors.append):
        pass
    for error in errors:
        yield Problem(f"{NAME}: {error.where}", error.what, error.observed, error.expected)


@rule("resources.leaves", ResourcesSubject, error=IntegrityError)
def check_leaves(subject: ResourcesSubject) -> Iterator[Problem]:
    """A resource without a filter is a stored blob of that size (section 7).

    Stays, though rebuilding contents finds the same: a shallow verification rebuilds none.
    """
    sql = "SELECT digest, size FROM rs_manifest WHERE filter_applied IS NULL AND length(digest) = 32"
    for digest, size in subject.table.database.query(sql):
        stored = subject.blob_size(digest)
        if stored != size:
            what = "blob is missing" if stored is None else "blob has another size than its resource"
            yield Problem(format_digest(digest), what, stored, size)


@rule("resources.contents", JoinSubject, error=IntegrityError)
def check_contents(subject: JoinSubject) -> Iterator[Problem]:
    """Every content that is not inlined has a row in the resource table, of the same size (sections 6 and 7)."""
    sql = "SELECT digest, size FROM ft_resource WHERE contents IS NULL AND size > 0 ORDER BY digest"
    available = subject.resources.database.query("SELECT digest, size FROM rs_manifest ORDER BY digest")
    digest, size = next(available, (None, None))
    for wanted, wanted_size in subject.files.database.query(sql):
        while digest is not None and digest < wanted:
            digest, size = next(available, (None, None))
        if digest != wanted:
            yield Problem(f"{subject.files.database.name}: {format_digest(wanted)}", "not in the resource table")
        elif size != wanted_size:
            where = f"{subject.files.database.name}: {format_digest(wanted)}"
            yield Problem(where, "size differs from the resource table", wanted_size, size)


@rule("resources.orphan", NeededSubject, severity="note")
def check_orphans(subject: NeededSubject) -> Iterator[Problem]:
    """Every resource is a content of a payload, or part of one; one that is not harms nobody."""
    for row in subject.resources.rows():
        if row.resource_id not in subject.referenced and not subject.is_content(row):
            yield Problem(f"{NAME}: resource {row.resource_id}", "needed by no payload")


@rule("blobs.extra", StoredSubject, error=IntegrityError)
def check_extra(subject: StoredSubject) -> Iterator[Problem]:
    """Every stored blob is named by a descriptor or by the resource table (section 2)."""
    for digest in subject.stored:
        if not subject.known(digest):
            yield Problem(format_digest(digest), "a blob that nothing refers to")


@rule("blobs.count", StoredSubject, error=IntegrityError)
def check_count(subject: StoredSubject) -> Iterator[Problem]:
    """blobs-count and blobs-size of index.json count the stored blobs (section 2)."""
    counted = {ann.BLOBS_COUNT: len(subject.stored), ann.BLOBS_SIZE: sum(subject.stored.values())}
    for key, number in counted.items():
        if subject.index.annotations.get(key) != number:
            yield Problem("index.json", f"{key} does not count the blobs", subject.index.annotations.get(key), number)
