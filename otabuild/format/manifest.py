"""The image manifest; each payload has one (section 3)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.document import Bounded, Document
from otabuild.format.media_types import FILE_TABLES, IMAGE_CONFIG, OCI_MANIFEST


class Manifest(Document):
    """An OCI image manifest: its config is an image config, its only layer a file table."""

    schema_version: StrictInt = Field(default=2, alias="schemaVersion", ge=2, le=2)
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = Field(
        default=OCI_MANIFEST, alias="mediaType"
    )
    artifact_type: Literal["application/vnd.tier4.ota.file-based-ota-image.v1"] | None = Field(
        default=None, alias="artifactType"
    )
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Bounded]
    annotations: ann.Annotations

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.config.check_media_type("config", IMAGE_CONFIG)
        if len(self.layers) != 1:
            raise ValueError(f"{len(self.layers)} layers: expected exactly one, the file table")
        self.layers[0].check_media_type("the layer", *FILE_TABLES)
        for key in (ann.ECU, ann.ARCHITECTURE):
            if not self.annotations.get(key):
                raise ValueError(f"annotation {key} is missing")
        if self.release_key not in ("dev", "prd"):
            raise ValueError(f"unknown release key {self.release_key!r}")
        return self

    @property
    def file_table(self) -> Descriptor:
        """The descriptor of the payload's file table."""
        return self.layers[0]

    @property
    def release_key(self) -> str:
        """`dev` or `prd`; the default is `dev`."""
        return str(self.annotations.get(ann.RELEASE_KEY, "dev"))

    @property
    def architecture(self) -> str:
        """The architecture of the ECU, such as `arm64` or `x86_64`."""
        return str(self.annotations[ann.ARCHITECTURE])
