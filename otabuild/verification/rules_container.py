"""Rules about the container and index.json (sections 1, 2 and 12)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from otabuild.errors import Finding, IntegrityError
from otabuild.findings import rule
from otabuild.format import annotations as ann
from otabuild.format.index import Index, check_oci_layout
from otabuild.storage.backend import Backend, BackendFile
from otabuild.storage.zip_reader import legal_name

_FILE_MODE, _FOLDER_MODE = 0o100644, 0o40755


@dataclass(frozen=True, slots=True)
class ContainerSubject:
    """The files and folders of an image, in any container.

    `oci_layout` is the file of that name, if it exists.
    """

    source: Backend
    oci_layout: bytes | None

    @property
    def entries(self) -> Iterator[BackendFile]:
        """The entries of an artifact in storage order; none for a directory, which has no order."""
        return self.source.members() if self.source.is_artifact else iter(())


@dataclass(frozen=True, slots=True)
class IndexSubject:
    """index.json, and whether index.jwt exists."""

    index: Index
    is_signed: bool


@rule("container.place", ContainerSubject, error=IntegrityError)
def check_places(subject: ContainerSubject) -> Iterator[Finding]:
    """An image only has regular files and folders with known names (section 1).

    Kept for directories: the reader of an artifact has already checked it. Where files cannot be
    listed, the report says so.
    """
    for member in subject.source.members():
        if not (stat.S_ISREG(member.mode) or stat.S_ISDIR(member.mode)):
            yield Finding(member.name, "neither a file nor a folder", oct(member.mode))
        elif not legal_name(member.name):
            yield Finding(member.name, "does not belong in an image")


@rule("container.layout", ContainerSubject)
def check_layout(subject: ContainerSubject) -> Iterator[Finding]:
    """oci-layout exists and has exactly its one key (section 1)."""
    if subject.oci_layout is None:
        yield Finding("oci-layout", "missing")
    else:
        check_oci_layout(subject.oci_layout)


@rule("container.first", ContainerSubject)
def check_first_entries(subject: ContainerSubject) -> Iterator[Finding]:
    """index.json is the first entry of an artifact, index.jwt the second (section 1), because
    clients stream it.
    """
    names = [entry.name for entry in subject.entries]
    due = [name for name in ("index.json", "index.jwt") if name in names]
    if names[: len(due)] != due:
        yield Finding(
            "artifact", "the first entries are wrong", ", ".join(names[: len(due)]), ", ".join(due)
        )


@rule("container.order", ContainerSubject, severity="note")
def check_order(subject: ContainerSubject) -> Iterator[Finding]:
    """Entries after index.json and index.jwt are in byte order of their names (section 1); any
    order is accepted.
    """
    last = ""
    for entry in subject.entries:
        if entry.name in ("index.json", "index.jwt"):
            continue
        if entry.name < last:
            yield Finding(entry.name, "is out of order", last)
            return
        last = entry.name


@rule("container.mode", ContainerSubject, severity="note")
def check_modes(subject: ContainerSubject) -> Iterator[Finding]:
    """Entries have the modes 0644 and 0755 (section 1), although nothing is ever extracted with
    them.
    """
    for entry in subject.entries:
        due = _FOLDER_MODE if stat.S_ISDIR(entry.mode) else _FILE_MODE
        if entry.mode != due:
            yield Finding(entry.name, "the mode is wrong", oct(entry.mode), oct(due))


@rule("index.unknown", IndexSubject)
def check_unknown(subject: IndexSubject) -> Iterator[Finding]:
    """Every entry of `manifests` has a type of the format (sections 2 and 12): clients refuse or
    mistake others.
    """
    for descriptor in subject.index.unknown:
        kind = f"{descriptor.media_type}, artifactType {descriptor.artifact_type}"
        yield Finding(
            descriptor.digest_text, "an entry of unknown type, which is never deployed", kind
        )


@rule("index.payloads", IndexSubject)
def check_payloads(subject: IndexSubject) -> Iterator[Finding]:
    """An image has at least one payload (section 2)."""
    if not subject.index.payloads and not subject.index.partition_payloads:
        yield Finding("index.json", "no payload")


@rule("index.finalized", IndexSubject)
def check_finalized(subject: IndexSubject) -> Iterator[Finding]:
    """created-at is present (section 2): an image without it is unfinished and may still change."""
    if subject.index.created_at is None:
        yield Finding("index.json", f"not finalized: no {ann.CREATED_AT}")


@rule("index.signed-at", IndexSubject)
def check_signed_at(subject: IndexSubject) -> Iterator[Finding]:
    """signed-at is present in index.json if the image is signed, and only then (section 2)."""
    if subject.is_signed and subject.index.signed_at is None:
        yield Finding("index.json", f"there is an index.jwt, but no {ann.SIGNED_AT}")
    if not subject.is_signed and subject.index.signed_at is not None:
        yield Finding("index.json", f"there is no index.jwt, but {ann.SIGNED_AT}")
