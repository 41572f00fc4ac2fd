"""Outputs of the commands that look into one image, verify or deploy it."""

from __future__ import annotations

from typing import Any, Literal

from otabuild.outputs.shape import (
    ABSENT,
    Bytes,
    Count,
    Digest,
    EntryValue,
    FilesOutput,
    FindingValue,
    ImagePath,
    OpenShape,
    Path,
    ReaderOutput,
    Shape,
    Time,
    WrittenOutput,
)


class ListedPayloadValue(Shape):
    """A file-based payload."""

    ecu: str
    """The ECU id."""
    release_key: Literal["dev", "prd"]
    """The release key."""
    digest: Digest
    """Of its manifest."""
    architecture: str
    """As in its config."""
    os: str | None
    """Name of the operating system."""
    os_version: str | None
    """Its version."""
    base_image: str | None
    """The label of that name."""
    rootfs_size: Bytes | None
    """All regular files, by the label of that name."""
    labels: dict[str, Any]
    """All labels of its config."""


class ListImageOutput(ReaderOutput):
    """What an image says it is; nothing of it is verified."""

    artifact: bool
    """Whether it is a ZIP."""
    signed: bool
    """Whether it has an index.jwt."""
    size: Bytes
    """The artifact, or all files of the directory; by URL, what index.json counts."""
    signer: str | None
    """Subject of the certificate in the signature; null if there is none that can be read."""
    signed_at: Time | None
    """The time in the signature, likewise."""
    annotations: dict[str, Any]
    """The annotations of index.json."""
    payloads: list[ListedPayloadValue]
    """The file-based payloads."""
    otaclient_package: bool
    """Whether the image has a package for otaclient itself."""
    partition_payloads: list[str]
    """Names of the partition-based payloads, which are verified but not deployed."""
    update_agent: bool
    """Whether the image has an update agent package."""
    unknown: list[dict[str, Any]]
    """Descriptors of unknown types; they are never deployed."""


class InspectIndexOutput(OpenShape):
    """The document index.json as it is in the image, and `ok` at its end."""

    ok: Literal[True]
    """The exit code is 0."""


class LookupImageOutput(OpenShape):
    """Documents of a payload as they are in the image.

    With `--image-config` they are the keys of the config itself.
    """

    ok: Literal[True]
    """The exit code is 0."""
    manifest: dict[str, Any] = ABSENT
    """The manifest."""
    config: dict[str, Any] = ABSENT
    """The image config."""


class LsOutput(ReaderOutput):
    """A directory of a payload."""

    entries: list[EntryValue]
    """What is in it, in path order."""


class StatOutput(EntryValue, ReaderOutput):
    """An entry of a payload."""


class ExtractOutput(ReaderOutput):
    """A directory that was extracted."""

    target: Path
    """The new directory."""
    payload: str
    """ECU id and release key, such as `main/dev`."""
    path: Path
    """The directory in the payload."""
    content_size: Bytes
    """What was written."""


class LegacyFileValue(Shape):
    """A file for legacy clients."""

    name: str
    """Its name."""
    size: Bytes
    """Its size."""


class OtaclientPackageOutput(ReaderOutput):
    """The package for otaclient itself."""

    release: dict[str, Any] | None
    """The manifest.json of the release; null if the image has no package."""
    legacy_files: list[LegacyFileValue]
    """The files for legacy clients."""


class DistributionValue(Shape):
    """What the os-release of a payload says; empty texts if nothing."""

    id: str
    """Such as `debian`."""
    version: str
    """Such as `12`."""


class PackageValue(Shape):
    """A package as its database records it; what the database does not have is left out."""

    type: str
    """As in package URLs, such as `deb`."""
    name: str
    """Its name."""
    version: str
    """The whole version."""
    architecture: str = ABSENT
    """As this kind of package names it."""
    source: str = ABSENT
    """The package that it was built from."""
    source_version: str = ABSENT
    """The version of that."""
    part_of: str = ABSENT
    """The system package that brought it."""
    licenses: list[str]
    """What it says of its licences."""
    database: Path
    """The file of the rootfs that says so."""
    files: list[Path] = ABSENT
    """Its files, with `--files`."""


class PayloadPackagesValue(Shape):
    """What is installed in a payload."""

    payload: str
    """ECU id and release key, such as `main/dev`."""
    distribution: DistributionValue
    """The distribution."""
    kernels: list[str]
    """Releases of the kernels."""
    packages: list[PackageValue]
    """The packages; with `--owner`, those that the file belongs to."""
    unpackaged: Count | list[Path]
    """How many files belong to no package; with `--unpackaged`, the files."""
    notes: list[str]
    """What could not be told, and why."""


class PackagesOutput(ReaderOutput):
    """What is installed in an image."""

    payloads: list[PayloadPackagesValue]
    """The payloads that were asked for."""


class CertificateValue(Shape):
    """A certificate of a chain."""

    subject: str
    """Whom it is for."""
    issuer: str
    """Who signed it."""
    not_before: Time
    """When it begins to be valid."""
    not_after: Time
    """When it ends to be valid."""


class SignatureValue(Shape):
    """A valid signature."""

    trusted: bool
    """Whether its chain ends at a trust anchor."""
    signed_at: Time | None
    """The time in the signature; null if it has none."""
    chain: list[CertificateValue]
    """The certificates, that of the signer first, the anchor last."""
    notes: list[str]
    """What is unusual about the chain, although clients take it."""


class CountsValue(Shape):
    """What was verified; what was not reached is left out."""

    payloads: Count = ABSENT
    """Payloads."""
    contents: Count = ABSENT
    """Distinct contents that were rebuilt."""
    content_bytes: Bytes = ABSENT
    """Their size."""
    blobs: Count = ABSENT
    """Stored blobs that were hashed."""
    bytes: Bytes = ABSENT
    """Their size."""


class VerifyOutput(ReaderOutput):
    """The result of a verification. Trust an image only if `ok` is true."""

    image: ImagePath
    """The image."""
    shallow: bool
    """Whether contents were skipped (`--shallow`)."""
    contents_checked: bool
    """Whether every content was rebuilt and compared with its digest."""
    strict: bool
    """Whether notes count as errors (`--strict`)."""
    signature: SignatureValue | None
    """The signature; null if it is not valid or was not checked."""
    counts: CountsValue
    """How much was verified."""
    findings: list[FindingValue]
    """What was found, in the order of the checks."""
    not_looked_for: list[str] = ABSENT
    """What cannot be found where the image is."""
    signed: bool
    """Whether the image has an index.jwt."""
    signature_checked: bool
    """False with `--no-signature`."""
    provenance: dict[str, Any] = ABSENT
    """The verified statement of `--provenance`."""
    sbom: dict[str, Any] = ABSENT
    """The verified statement of `--sbom`."""


class VerifySignOutput(SignatureValue, ReaderOutput):
    """The result of verifying a signature."""

    image: ImagePath
    """The image."""


class VerifyResourcesOutput(ReaderOutput):
    """The result of hashing stored blobs."""

    blobs: Count
    """How many were hashed."""
    findings: list[FindingValue]
    """What is wrong."""


class AmountValue(Shape):
    """An amount of what is fetched."""

    requests: Count
    """Requests."""
    bytes: Bytes
    """Their size."""


class ReusedValue(Shape):
    """An amount of what is reused."""

    contents: Count
    """Distinct contents."""
    bytes: Bytes
    """Their size."""


class DeployImageOutput(ReaderOutput):
    """A payload that was deployed."""

    target: Path
    """The directory or tar file."""
    payload: str
    """ECU id and release key, such as `main/dev`."""
    signer: str | None
    """Subject of the certificate; null if the signature was not checked."""
    inodes: Count
    """What was written."""
    content_size: Bytes
    """All regular files, each inode once."""
    planned: AmountValue = ABSENT
    """What the image should give; this and the next two are there with `--reuse` or a URL."""
    fetched: AmountValue = ABSENT
    """What the image gave."""
    reused: ReusedValue = ABSENT
    """What the old trees gave."""


class ReportOutput(ReaderOutput):
    """A page that was written."""

    report: Path
    """The HTML file."""


class LintValue(FindingValue):
    """What a rule of lint found."""

    reason: str
    """Why the rule exists."""


class LintOutput(ReaderOutput):
    """What may cause trouble on a device."""

    findings: list[LintValue]
    """The findings, without those of silenced rules."""


COMMANDS: dict[str, Any] = {
    "deploy-image": DeployImageOutput,
    "extract": ExtractOutput,
    "get-filetable": WrittenOutput,
    "get-resourcetable": WrittenOutput,
    "inspect-blob": WrittenOutput,
    "inspect-index": InspectIndexOutput,
    "lint": LintOutput,
    "list-image": ListImageOutput,
    "lookup-image": LookupImageOutput,
    "ls": LsOutput,
    "otaclient-package": OtaclientPackageOutput | FilesOutput,
    "packages": PackagesOutput,
    "report": ReportOutput,
    "stat": StatOutput,
    "verify": VerifyOutput,
    "verify-resources": VerifyResourcesOutput,
    "verify-sign": VerifySignOutput,
}
"""What these commands print."""
