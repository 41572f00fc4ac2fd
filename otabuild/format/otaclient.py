"""The otaclient package: a release's manifest.json, and the manifest in the image (section 9)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.format.annotations import Annotations
from otabuild.format.digest import Descriptor, DigestText
from otabuild.format.document import Bounded, Document
from otabuild.format.media_types import (
    OCI_MANIFEST,
    OTACLIENT_ARTIFACT,
    OTACLIENT_MANIFEST,
    OTACLIENT_SQUASHFS,
)

RELEASE_MANIFEST = "manifest.json"
"""The name of the release manifest in a release folder."""


def _file_name(text: str) -> str:
    if (
        # A package of this name would take the place of the manifest that names it.
        text in ("", ".", "..", RELEASE_MANIFEST)
        or "/" in text
        or "\\" in text
        or not text.isprintable()
    ):
        raise ValueError("is not a safe name for a file of the release folder")
    if len(text.encode()) > limits.NAME:
        raise ValueError(f"is longer than {limits.NAME} bytes")
    return text


class Package(Document):
    """One file of a release; its size is in bytes."""

    filename: Annotated[StrictStr, AfterValidator(_file_name)]
    version: StrictStr
    type: StrictStr
    architecture: Literal["arm64", "x86_64"]
    size: StrictInt = Field(ge=0)
    checksum: DigestText

    def descriptor(self) -> Descriptor:
        """Return the layer for this package in the image."""
        return Descriptor(
            media_type=OTACLIENT_SQUASHFS,
            digest_text=self.checksum,
            size=self.size,
            annotations=self._annotations(),
        )

    def _annotations(self) -> dict[str, Any]:
        return {
            key: getattr(self, key)
            for key in ("version", "type", "architecture", "size", "checksum")
        }


class Release(Document):
    """The manifest.json of a release folder."""

    schema_version: StrictStr | StrictInt
    date: StrictStr
    packages: Annotated[tuple[Package, ...], Bounded]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        # Names that are equal under case folding are one name (section 1).
        names = [package.filename.casefold() for package in self.packages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names a file twice: {', '.join(twice)}")
        return self

    @property
    def squashfs(self) -> tuple[Package, ...]:
        """The packages that are included in an image."""
        return tuple(package for package in self.packages if package.type == "squashfs")


class PackageManifest(Document):
    """The OCI manifest of an otaclient package.

    Its config is the release's manifest.json, its layers are the packages.
    """

    schema_version: StrictInt = Field(default=2, alias="schemaVersion", ge=2, le=2)
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = Field(
        default=OCI_MANIFEST, alias="mediaType"
    )
    artifact_type: Literal["application/vnd.tier4.otaclient.release-package.v1"] | None = Field(
        default=None, alias="artifactType"
    )
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Bounded]
    annotations: Annotations | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.config.check_media_type("config", OTACLIENT_MANIFEST)
        for number, layer in enumerate(self.layers):
            layer.check_media_type(f"layer {number}", OTACLIENT_SQUASHFS)
        return self

    def check(self, release: Release, where: str) -> None:
        """Check the manifest against the release in its config.

        Raises:
            FormatError: its layers are not the squashfs packages of the release, or its date
                differs.
        """
        due = [package.descriptor() for package in release.squashfs]
        if sorted(map(_facts, self.layers)) != sorted(map(_facts, due)):
            raise FormatError(
                "the layers are not the squashfs packages of the release",
                where=where,
                observed=", ".join(map(_facts, self.layers)) or "none",
                expected=", ".join(map(_facts, due)) or "none",
            )
        if (date := (self.annotations or {}).get("date")) not in (None, release.date):
            raise FormatError(
                "the date differs from the release's",
                where=where,
                observed=date,
                expected=release.date,
            )


def _facts(layer: Descriptor) -> str:
    """Describe a layer as text. In text, 104 and 104.0 differ, as they do for clients."""
    found = layer.annotations or {}
    due = ("version", "type", "architecture", "size", "checksum")
    return f"{layer.digest_text} {layer.size} {[found.get(key) for key in due]}"


def build_package(release_manifest: bytes, where: str) -> tuple[Release, bytes, Descriptor]:
    """Make the manifest blob for a release folder.

    Args:
        release_manifest: the bytes of its manifest.json, which become a blob unchanged.
        where: the name of that file, for messages.

    Returns:
        The release, the bytes of the manifest blob, and the descriptor of the blob for index.json.

    Raises:
        FormatError: the release manifest does not follow the format, or has no squashfs package.
        LimitError: it is larger than 1 MiB.
    """
    release = Release.from_json(release_manifest, where)
    if not release.squashfs:
        hint = (
            "an image takes packages of type squashfs; check that this is the folder of an "
            "otaclient release"
        )
        raise FormatError("the release has no squashfs package", where=where, hint=hint)
    manifest = PackageManifest(
        artifact_type=OTACLIENT_ARTIFACT,
        config=Descriptor.of(release_manifest, OTACLIENT_MANIFEST),
        layers=tuple(package.descriptor() for package in release.squashfs),
        annotations={"date": release.date},
    ).to_json()
    descriptor = Descriptor.of(manifest, OTACLIENT_MANIFEST)
    return release, manifest, descriptor.model_copy(update={"artifact_type": OTACLIENT_ARTIFACT})


def parse_package(
    manifest: bytes, release_manifest: bytes, where: str
) -> tuple[PackageManifest, Release]:
    """Read the otaclient package of an image from the bytes of its manifest blob and config blob.

    Raises:
        FormatError: one of them does not follow the format, or they do not agree.
        IntegrityError: the config is not the one that the manifest names.
        LimitError: one of them is larger than 1 MiB.
    """
    parsed = PackageManifest.from_json(manifest, where)
    parsed.config.verify(release_manifest, f"config of {where}")
    release = Release.from_json(release_manifest, f"config of {where}")
    parsed.check(release, where)
    return parsed, release
