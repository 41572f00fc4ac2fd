"""verify-resources: checks that stored blobs match their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from otabuild.errors import Finding, IntegrityError, OtabuildError
from otabuild.format.digest import Blob, parse_digest
from otabuild.image.image import Image
from otabuild.image.inventory import referenced_blobs
from otabuild.image.rebuild import run_parallel


@dataclass(frozen=True, slots=True)
class ResourcesReport:
    """The number of hashed blobs, and what was wrong with which of them."""

    blobs: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether every blob is good."""
        return not self.findings

    def to_value(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        return {
            "ok": self.ok,
            "blobs": self.blobs,
            "findings": [finding.to_value() for finding in self.findings],
        }


def verify_resources(image: Image, digests: Iterable[str] = ()) -> ResourcesReport:
    """Hash stored blobs.

    Args:
        image: an open image.
        digests: the blobs to hash, as `sha256:` and 64 hex digits; default: every stored blob, and
            every leaf of the resource table.

    Raises:
        FormatError: not a digest, or not an index of this format.
        IntegrityError, TableError: the resource table, which lists the expected blobs, is invalid.
    """
    named = {parse_digest(text): None for text in digests}
    wanted: Mapping[bytes, int | None] = named or _expected(image)
    # In the order in which the threads come to them, until they are sorted.
    findings: list[Finding] = []

    def work(blob: tuple[bytes, int | None], _stop: object) -> None:
        try:
            for _ in image.blobs.stream(*blob):
                pass
        except OtabuildError as error:
            findings.append(Finding.of_error("blob", error))

    with image.blobs.fetching(sorted(wanted.items()), _known) as fetched:
        run_parallel(work, fetched)
    return ResourcesReport(len(wanted), tuple(sorted(findings, key=lambda finding: finding.where)))


def _expected(image: Image) -> dict[bytes, int]:
    """Return digests and sizes of blobs that the image has, and of those that it should have."""
    stored = image.blobs.stored()
    if stored is None:
        return referenced_blobs(image)
    wanted = {descriptor.digest: descriptor.size for descriptor in image.index.manifests}
    if image.index.has_resource_table:
        wanted |= {
            row.digest: row.size for row in image.resources.rows() if row.filter_applied is None
        }
    if any(len(digest) != 32 for digest in wanted):
        raise IntegrityError("a digest that does not have 32 bytes", where="resource table")
    return wanted | stored


def _known(blob: tuple[bytes, int | None]) -> Iterator[Blob]:
    digest, size = blob
    if size is not None:
        yield Blob(digest, size)
