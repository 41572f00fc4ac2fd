"""The JSON documents of an image: configs, manifests and the index (sections 2 to 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otabuild.format import annotations as ann
from otabuild.format.digest import Blob, Descriptor
from otabuild.format.image_config import ImageConfig
from otabuild.format.index import Index
from otabuild.format.manifest import Manifest
from otabuild.format.media_types import OCI_MANIFEST, PAYLOAD_ARTIFACT
from otabuild.format.times import utc
from otabuild.version import __version__


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """The data of one payload for its documents; texts that are None are left out.

    `labels` are the counts of the rootfs; `platform` is the platform of the whole image.
    """

    ecu: str
    release_key: str
    architecture: str
    base_image: str
    labels: Mapping[str, int]
    file_table: Descriptor
    sys_config: Descriptor | None = None
    description: str | None = None
    os_name: str | None = None
    os_version: str | None = None
    bsp_version: str | None = None
    platform: str | None = None
    hardware_model: str | None = None
    hardware_series: str | None = None


def image_config(spec: PayloadSpec, timestamp: int) -> ImageConfig:
    """Return the image config of a payload, created at `timestamp` (Unix seconds)."""
    labels = {
        ann.BASE_IMAGE: spec.base_image,
        ann.OS_NAME: spec.os_name,
        ann.OS_VERSION: spec.os_version,
        ann.BSP_VERSION: spec.bsp_version,
        **spec.labels,
    }
    return ImageConfig(
        description=spec.description,
        created=utc(timestamp),
        architecture=spec.architecture,
        os=spec.os_name,
        os_version=spec.os_version,
        sys_config=spec.sys_config,
        file_table=spec.file_table,
        labels=_present(labels),
    )


def manifest(spec: PayloadSpec, config: Descriptor) -> Manifest:
    """Return the manifest of a payload."""
    return Manifest(
        artifact_type=PAYLOAD_ARTIFACT,
        config=config,
        layers=(spec.file_table,),
        annotations=_present(
            {
                **_identity(spec),
                ann.ARCHITECTURE: spec.architecture,
                ann.PLATFORM: spec.platform,
                ann.HARDWARE_MODEL: spec.hardware_model,
                ann.HARDWARE_SERIES: spec.hardware_series,
                ann.BSP_VERSION: spec.bsp_version,
            }
        ),
    )


def payload_descriptor(spec: PayloadSpec, raw_manifest: bytes) -> Descriptor:
    """Return the descriptor of a payload's manifest for the index."""
    blob = Descriptor.of(raw_manifest, OCI_MANIFEST)
    return Descriptor.make(
        OCI_MANIFEST,
        blob.digest,
        blob.size,
        artifact_type=PAYLOAD_ARTIFACT,
        annotations=_identity(spec),
    )


def index(
    manifests: Sequence[Descriptor],
    annotations: Mapping[str, str],
    blobs: Sequence[Blob],
    *,
    created_at: int,
    signed_at: int | None,
) -> Index:
    """Return index.json of a finalized image.

    Args:
        manifests: descriptors of the payloads, the otaclient package and the resource table, in
            this order.
        annotations: the annotations of the recipe, by full keys.
        blobs: every blob of the image, once.
        created_at: Unix seconds of the build.
        signed_at: Unix seconds of the signature; None leaves the image unsigned.
    """
    return Index(
        manifests=tuple(manifests),
        annotations=_present(
            {
                **annotations,
                # After those of the recipe, in the order of section 2.
                ann.BUILDER_VERSION: f"otabuild {__version__}",
                ann.CREATED_AT: created_at,
                ann.SIGNED_AT: signed_at,
                ann.BLOBS_COUNT: len(blobs),
                ann.BLOBS_SIZE: sum(blob.size for blob in blobs),
            }
        ),
    )


def _identity(spec: PayloadSpec) -> dict[str, str]:
    return {ann.ECU: spec.ecu, ann.RELEASE_KEY: spec.release_key}


def _present(values: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {key: value for key, value in values.items() if value is not None}
