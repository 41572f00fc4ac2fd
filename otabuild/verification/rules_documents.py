"""Rules about the documents of a payload (sections 2 to 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from otabuild.errors import Finding
from otabuild.findings import rule
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.image_config import ImageConfig
from otabuild.format.manifest import Manifest
from otabuild.format.otaclient import PackageManifest
from otabuild.format.sys_config import read_sys_config
from otabuild.image.image import Payload


@dataclass(frozen=True, slots=True)
class DocumentsSubject:
    """The documents of one payload; each was parsed already."""

    name: str
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class SysConfigSubject:
    """The notes from parsing a sys_config."""

    name: str
    notes: tuple[str, ...]


def read_sys_config_of(payload: Payload) -> SysConfigSubject:
    """Parse the sys_config of a payload.

    Raises:
        FormatError, LimitError: clients would refuse it (section 5).
        IntegrityError: the blob is missing or damaged.
    """
    name = f"sys_config of {payload.name}"
    return SysConfigSubject(
        name, () if payload.sys_config is None else read_sys_config(payload.sys_config, name)[1]
    )


@rule("manifest.annotations", DocumentsSubject)
def check_annotations(subject: DocumentsSubject) -> Iterator[Finding]:
    """Manifest and index.json agree on every annotation that both have (section 3), ECU and release
    key among them.
    """
    ours, index = subject.manifest.annotations, subject.descriptor.annotations or {}
    if ann.RELEASE_KEY not in ours:
        yield Finding(f"manifest of {subject.name}", f"annotation {ann.RELEASE_KEY} is missing")
    due = {**index, ann.RELEASE_KEY: index.get(ann.RELEASE_KEY, "dev")}
    for key in sorted(ours.keys() & due.keys()):
        if ours[key] != due[key]:
            yield Finding(
                f"manifest of {subject.name}", f"{key} differs from index.json", ours[key], due[key]
            )


@rule("manifest.artifact-type", DocumentsSubject, severity="note")
def check_artifact_type(subject: DocumentsSubject) -> Iterator[Finding]:
    """The manifest has an artifactType (section 3); manifests of the reference builder lack it."""
    if subject.manifest.artifact_type is None:
        yield Finding(f"manifest of {subject.name}", "no artifactType")


@rule("otaclient.artifact-type", PackageManifest, severity="note")
def check_package_type(subject: PackageManifest) -> Iterator[Finding]:
    """The manifest of the otaclient package has an artifactType (section 9); the reference
    builder's lacks it.
    """
    if subject.artifact_type is None:
        yield Finding("otaclient package", "no artifactType")


@rule("config.file-table", DocumentsSubject)
def check_file_table(subject: DocumentsSubject) -> Iterator[Finding]:
    """Config and manifest name the same file table (section 4)."""
    ours, due = subject.config.file_table.to_value(), subject.manifest.file_table.to_value()
    if ours != due:
        observed = {key: ours[key] for key in sorted(ours) if ours[key] != due.get(key)}
        expected = {key: due[key] for key in sorted(due) if ours.get(key) != due[key]}
        yield Finding(
            f"config of {subject.name}",
            "the file table differs from the manifest's",
            observed,
            expected,
        )


@rule("config.architecture", DocumentsSubject, severity="note")
def check_architecture(subject: DocumentsSubject) -> Iterator[Finding]:
    """Config and manifest name the same architecture (sections 3 and 4), as we write it; the format
    does not say so.
    """
    ours, due = subject.config.architecture, subject.manifest.architecture
    if ours != due:
        yield Finding(
            f"config of {subject.name}", "the architecture differs from the manifest's", ours, due
        )


@rule("config.os", DocumentsSubject)
def check_os(subject: DocumentsSubject) -> Iterator[Finding]:
    """`os` and `os.version` of a config and of its labels are equal, or absent from both (section
    4).
    """
    for ours, key in (
        (subject.config.os, ann.OS_NAME),
        (subject.config.os_version, ann.OS_VERSION),
    ):
        label = subject.config.labels.get(key)
        if ours != label:
            yield Finding(
                f"config of {subject.name}",
                f"label {key} differs from the config's own field",
                label,
                ours,
            )


@rule("sys-config.oddities", SysConfigSubject, severity="note")
def check_sys_config(subject: SysConfigSubject) -> Iterator[Finding]:
    """A sys_config contains no value that clients cannot use, and nothing that they ignore or read
    in two ways (section 5).
    """
    return (Finding(subject.name, note) for note in subject.notes)
