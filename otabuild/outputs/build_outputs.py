"""Outputs of the commands about recipes and the work directory."""

from __future__ import annotations

from typing import Any

from otabuild.outputs.shape import (
    Bytes,
    Count,
    FilesOutput,
    OpenShape,
    Output,
    Path,
    Seconds,
    Sha256,
    Shape,
    Time,
)


class TotalsValue(Shape):
    """What a build did, all steps together; 0 if it had nothing to do."""

    files_hashed: Count
    """Files of which the content was hashed."""
    bytes_hashed: Bytes
    """Their size."""
    bytes_read: Bytes
    """What was read from inputs."""
    blobs_compressed: Count
    """Blobs that were compressed."""
    bytes_compressed: Bytes
    """Their size before."""
    contents_reused: Count
    """Contents that the cache already had in stored form."""
    contents_of_base: Count
    """Contents that are stored as in `storage.base`."""
    base_requests: Count
    """Requests to the server of `storage.base`; 0 if it is on this machine."""
    base_bytes: Bytes
    """What came back."""


class StepValue(OpenShape):
    """A step of a build.

    It has further keys with what it counted; these are for people, and may change.
    """

    step: str
    """Its name, such as `scan:vehicle/main`."""
    ran_because: list[str]
    """Why it ran; empty if it did not."""
    seconds: Seconds
    """How long it took."""


class VersionsValue(Shape):
    """What bytes of an image may depend on."""

    otabuild: str
    """Version of otabuild."""
    python: str
    """Version of Python."""
    libzstd: str
    """Version of the compressor."""
    sqlite: str
    """Version of SQLite."""


class MadeOutput(Output):
    """What was made of a recipe."""

    artifact: Path | None
    """The image that was built, or null if the recipe writes none."""
    sha256: Sha256 | None
    """Of the artifact."""
    size: Bytes | None
    """Of the artifact."""
    index_json: Sha256
    """Of index.json; in a store it is the digest of the release."""


class BuildOutput(MadeOutput):
    """What a build did; the report beside the artifact is the same without `ok`."""

    seconds: Seconds
    """All steps together."""
    totals: TotalsValue
    """What all steps did."""
    steps: list[StepValue]
    """The steps in their order."""
    versions: VersionsValue
    """What made it."""


class PlannedValue(Shape):
    """A step of a build that was not run."""

    step: str
    """Its name."""
    reasons: list[str]
    """Why it would run; empty if it would not."""


class BaseValue(Shape):
    """What a base may give to a build."""

    place: str
    """Its path or URL."""
    trusted: bool
    """Whether a signer whom `verify.trust` trusts signed it, so that its contents are taken over without being read."""
    resources: Count
    """Resources that may be taken over; 0 if it is not used."""


class PlanOutput(Output):
    """What a build would do."""

    steps: list[PlannedValue]
    """The steps in their order."""
    base: BaseValue | None
    """What `storage.base` may give."""


class CheckOutput(Output):
    """A recipe that a build would begin with."""

    recipe: str
    """Its name."""
    warnings: list[str]
    """What a build would warn of."""


class PkiCheckOutput(Output):
    """Certificates that clients would accept."""

    signer: str
    """The subject of the signing certificate."""
    valid_until: Time
    """When its validity ends."""
    warnings: list[str]
    """What may become a problem, such as an end that is near."""


class KeyValue(Shape):
    """A key of a recipe."""

    key: str
    """Its path, such as `storage.profile`."""
    value: Any
    """Its value as JSON, with every reference replaced."""
    from_: str
    """Where the value comes from: file and line, or a default."""


class ShowOutput(Output):
    """What a recipe comes to."""

    recipe: str
    """Its name."""
    keys: list[KeyValue]
    """Every key that applies."""


class VersionOutput(VersionsValue, Output):
    """Versions."""

    cryptography: str
    """Version of this package; this and the following are left out in a frozen program."""
    doit: str
    """Version of this package."""
    msgpack: str
    """Version of this package."""
    pydantic: str
    """Version of this package."""
    pyjwt: str
    """Version of this package."""
    pyyaml: str
    """Version of this package."""
    zstandard: str
    """Version of this package."""


class ReproOutput(Output):
    """Two builds of a recipe."""

    reproducible: bool
    """Whether both gave the same bytes."""
    sha256: list[Sha256]
    """Of the two artifacts."""
    signature: bool
    """False if they were built without one, because the signer makes a different one each time."""
    difference: str | None
    """The first object in which they differ; null if none does."""
    images: list[Path]
    """Where both are kept if they differ."""


class RecordedOutput(Output):
    """A build as a provenance says (`--provenance`)."""

    reproduced: bool
    """Whether it gave what the provenance is about."""
    differs: list[str]
    """What it did not give."""
    changed_inputs: list[str]
    """Inputs that are not as recorded; empty if nothing differs."""


class CacheShowOutput(Output):
    """What the work directory keeps for later builds."""

    blobs: Count
    """Stored blobs."""
    blob_bytes: Bytes
    """Their size."""
    cache_disk_bytes: Bytes
    """What the cache takes on disk."""
    archive_bytes: Bytes
    """What was unpacked from archives."""
    limit: Bytes
    """How much is kept after a build."""


class CachePruneOutput(Output):
    """What was dropped from the cache."""

    freed: Bytes
    """The size of what was dropped."""
    blobs_dropped: Count
    """Blobs that were dropped."""
    blobs: Count
    """Blobs that are left."""


class CacheVerifyOutput(Output):
    """What is damaged in the cache; it is dropped, and the next build makes it again."""

    blobs: Count
    """Blobs that were read."""
    damaged: list[Sha256]
    """Digests of the damaged ones."""


class AttestOutput(Output):
    """An attestation that was written."""

    attestation: Path
    """The file."""
    about: Path
    """The artifact that it is about, or the recipe if that writes none."""


class AttestRequestOutput(Output):
    """What has to be signed outside for an attestation (`--request`)."""

    request: Path
    """The request."""
    for_: Path
    """The file that the signature is for."""
    sha256: Sha256
    """What to sign."""


class RequestValue(Shape):
    """What has to be signed outside for an image."""

    request: Path
    """The file with the request."""
    for_: str
    """The member of the image that the signature is for."""
    sha256: Sha256
    """What to sign."""
    base64: str
    """The same, in base64."""


class SignPrepareOutput(Output):
    """Requests for signatures."""

    requests: list[RequestValue]
    """One for each signature that is not there yet."""


class SignOutput(Output):
    """An image that was signed."""

    image: Path
    """The signed image."""
    signer: str
    """Subject of the certificate."""
    signed_at: Time
    """The time in the signature."""


class FinishedOutput(MadeOutput):
    """The artifact of a recipe, signed outside."""


COMMANDS: dict[str, Any] = {
    "attest": AttestOutput | AttestRequestOutput,
    "build": BuildOutput,
    "cache prune": CachePruneOutput,
    "cache show": CacheShowOutput,
    "cache verify": CacheVerifyOutput,
    "check": CheckOutput,
    "init": FilesOutput,
    "pki check": PkiCheckOutput,
    "pki demo": FilesOutput,
    "pki request": FilesOutput,
    "plan": PlanOutput,
    "repro": ReproOutput | RecordedOutput,
    "show": ShowOutput,
    "sign": SignOutput,
    "sign-finish": FinishedOutput | SignOutput,
    "sign-prepare": SignPrepareOutput,
    "version": VersionOutput,
}
"""What these commands print."""
