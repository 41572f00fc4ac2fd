"""Payloads that next-generation images have beside file-based ones: verified, never built.

A partition-based payload consists of whole images of partitions, and an update agent package of
programs that install them. Their blobs are stored as they are: no filter, and no row of the
resource table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor, DigestText, parse_digest
from otabuild.format.document import Bounded, Document
from otabuild.format.media_types import PARTITION_CONFIG, UPDATE_AGENT_BUNDLE

_UNCOMPRESSED = "vnd.tier4.ota.partition-image.uncompressed"
_AGENT = "vnd.tier4.ota.update-agent"


class Uncompressed(Document):
    """What a compressed layer says about its content."""

    digest_text: DigestText = Field(alias=f"{_UNCOMPRESSED}.digest")
    size: StrictInt = Field(alias=f"{_UNCOMPRESSED}.size", ge=1)

    @property
    def digest(self) -> bytes:
        """The 32 bytes of the digest."""
        return parse_digest(self.digest_text)


def uncompressed(layer: Descriptor) -> Uncompressed | None:
    """Return what a layer says about its content; None for a layer that is stored as it is.

    Raises:
        FormatError: the layer is compressed, and its annotations do not say.
    """
    if not layer.media_type.endswith("+zstd"):
        return None
    return Uncompressed.from_value(layer.annotations or {}, f"annotations of {layer.digest_text}")


class PartitionManifest(Document):
    """The manifest of a partition-based payload: a config, and all blobs it ships as layers."""

    schema_version: StrictInt = Field(alias="schemaVersion", ge=2, le=2)
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = Field(alias="mediaType")
    artifact_type: Literal["application/vnd.tier4.ota.partition-based-ota-image.v1"] = Field(
        alias="artifactType"
    )
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Bounded]
    annotations: ann.Annotations

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.config.check_media_type("config", PARTITION_CONFIG)
        for key in (ann.ECU, ann.ARCHITECTURE):
            if not self.annotations.get(key):
                raise ValueError(f"annotation {key} is missing")
        return self


class Part(Document):
    """A partition, data image or firmware: its image, its package, or a delta in its place."""

    name: StrictStr = Field(min_length=1)
    image: Descriptor | None = None
    delta: Descriptor | None = None
    package: Descriptor | None = None

    @property
    def shipped(self) -> Descriptor | None:
        """The blob in the image."""
        return self.delta or self.image or self.package


class PartitionConfig(Document):
    """The config of a partition-based payload. What devices do with a part is not judged here."""

    schema_version: StrictInt = Field(alias="schemaVersion", ge=1, le=1)
    media_type: Literal["application/vnd.tier4.ota.partition-based-ota-image.config.v1+json"] = (
        Field(alias="mediaType")
    )
    resource_digest_alg: Literal["sha256"]
    architecture: StrictStr
    image_version: StrictStr = Field(min_length=1)
    delivery: Literal["direct", "vendor-package"]
    partitions: Annotated[tuple[Part, ...], Bounded] = Field(min_length=1)
    data_images: Annotated[tuple[Part, ...], Bounded] | None = None
    firmware: Part | None = None
    package: Descriptor | None = None
    labels: ann.Annotations

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ann.check_counts(self.labels, ann.LABEL_COUNTS)
        for what, parts in (
            ("partitions", self.partitions),
            ("data images", self.data_images or ()),
        ):
            names = Counter(part.name for part in parts)
            if len(names) != len(parts):
                raise ValueError(f"two {what} share a name: {names.most_common(1)[0][0]}")
        if (self.package is not None) != (self.delivery == "vendor-package"):
            raise ValueError("a package belongs to the delivery vendor-package, and only to that")
        return self

    def check(self, manifest: PartitionManifest, where: str) -> None:
        """Check the config against the manifest that names it.

        Raises:
            FormatError: the layers are not the blobs of the config, in its order, or its labels do
                not count them.
        """
        due = [blob.to_value() for blob in self._shipped()]
        layers = [layer.to_value() for layer in manifest.layers]
        if layers != due:
            what = "the layers are not the blobs that the config ships"
            raise FormatError(what, where=where, observed=_digests(layers), expected=_digests(due))
        counted = {
            ann.BLOBS_COUNT: len(layers),
            ann.BLOBS_SIZE: sum(layer.size for layer in manifest.layers),
        }
        for key, number in counted.items():
            if self.labels.get(key) != number:
                what = f"label {key} does not count the layers"
                raise FormatError(what, where=where, observed=self.labels.get(key), expected=number)

    def _shipped(self) -> Iterator[Descriptor]:
        firmware = () if self.firmware is None else (self.firmware,)
        for part in (*self.partitions, *(self.data_images or ()), *firmware):
            if part.shipped is not None:
                yield part.shipped
        if self.package is not None:
            yield self.package


def _digests(blobs: list[dict[str, Any]]) -> str:
    return ", ".join(str(blob["digest"]) for blob in blobs) or "none"


class UpdateAgentManifest(Document):
    """The manifest of an update agent package: bundles, each with its type and version."""

    schema_version: StrictInt = Field(alias="schemaVersion", ge=1, le=1)
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = Field(alias="mediaType")
    artifact_type: Literal["application/vnd.tier4.ota.update-agent.release-package.v1"] = Field(
        alias="artifactType"
    )
    layers: Annotated[tuple[Descriptor, ...], Bounded]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for number, layer in enumerate(self.layers):
            layer.check_media_type(f"layer {number}", UPDATE_AGENT_BUNDLE)
            for key in (f"{_AGENT}.type", f"{_AGENT}.version"):
                if type((layer.annotations or {}).get(key)) is not str:
                    raise ValueError(f"layer {number} lacks the annotation {key}")
        return self
