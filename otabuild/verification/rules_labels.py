"""The rule about labels of a payload's config that count what its file table has (section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from otabuild.errors import Finding, IntegrityError
from otabuild.findings import rule
from otabuild.format import annotations as ann
from otabuild.image.tables import FileTable

_COUNTED: dict[str, str] = {
    ann.REGULAR_COUNT: "(SELECT count(*) FROM ft_regular)",
    ann.NON_REGULAR_COUNT: "(SELECT count(*) FROM ft_non_regular)",
    ann.DIRS_COUNT: "(SELECT count(*) FROM ft_dir)",
    ann.UNIQUE_COUNT: "(SELECT count(*) FROM ft_resource)",
    ann.UNIQUE_SIZE: "(SELECT sum(size) FROM ft_resource)",
    ann.ROOTFS_SIZE: "(SELECT sum(size) FROM ft_regular JOIN ft_resource USING (resource_id))",
    ann.BLOBS_COUNT: "(SELECT count(*) FROM ft_resource WHERE contents IS NULL AND size > 0)",
    ann.BLOBS_SIZE: "(SELECT sum(size) FROM ft_resource WHERE contents IS NULL AND size > 0)",
}


@dataclass(frozen=True, slots=True)
class LabelsSubject:
    """The labels of a payload's config, and the file table whose contents they count."""

    name: str
    labels: dict[str, object]
    table: FileTable


@rule("config.labels", LabelsSubject, error=IntegrityError)
def check_labels(subject: LabelsSubject) -> Iterator[Finding]:
    """The labels match the counts of the tables (section 4). `rootfs.size` is optional: early
    builders omitted it.
    """
    for key, expression in _COUNTED.items():
        if key == ann.ROOTFS_SIZE and key not in subject.labels:
            continue
        counted = subject.table.count(expression)
        if subject.labels.get(key) != counted:
            yield Finding(
                subject.name,
                f"label {key} does not count the table",
                subject.labels.get(key),
                counted,
            )
