"""Documents of an image in their smallest legal form, as JSON values that a test changes."""

from __future__ import annotations

from typing import Any

from otabuild.format import annotations as ann
from otabuild.format.media_types import (
    FILE_TABLE_ZSTD,
    IMAGE_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    PARTITION_ARTIFACT,
    PARTITION_CONFIG,
    PAYLOAD_ARTIFACT,
    RESOURCE_TABLE_ZSTD,
)

PAYLOAD = {ann.ECU: "main", ann.RELEASE_KEY: "dev"}


def descriptor(media_type: str, *, artifact_type: str = "", **annotations: Any) -> dict[str, Any]:
    """A descriptor of a blob of five bytes."""
    value: dict[str, Any] = {"mediaType": media_type, "digest": f"sha256:{'0a' * 32}", "size": 5}
    value |= {"artifactType": artifact_type} if artifact_type else {}
    return value | ({"annotations": annotations} if annotations else {})


def payload(**annotations: Any) -> dict[str, Any]:
    """A file-based payload of index.json."""
    return descriptor(OCI_MANIFEST, artifact_type=PAYLOAD_ARTIFACT, **{**PAYLOAD, **annotations})


def index(*manifests: dict[str, Any], **annotations: Any) -> dict[str, Any]:
    """index.json of a payload, a resource table and whatever else is given."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [payload(), descriptor(RESOURCE_TABLE_ZSTD), *manifests],
        "annotations": {ann.BUILDER_VERSION: "test", **annotations},
    }


def manifest(**changes: Any) -> dict[str, Any]:
    """The manifest of a file-based payload."""
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": PAYLOAD_ARTIFACT,
        "config": descriptor(IMAGE_CONFIG),
        "layers": [descriptor(FILE_TABLE_ZSTD)],
        "annotations": {**PAYLOAD, ann.ARCHITECTURE: "arm64"},
    }
    return value | changes


def config(**changes: Any) -> dict[str, Any]:
    """The config of a file-based payload."""
    value = {
        "schemaVersion": 1,
        "mediaType": IMAGE_CONFIG,
        "resource_digest_alg": "sha256",
        "architecture": "arm64",
        "file_table": descriptor(FILE_TABLE_ZSTD),
        "labels": {ann.BASE_IMAGE: "debian:13"},
    }
    return value | changes


def partition_manifest(**changes: Any) -> dict[str, Any]:
    """The manifest of a partition-based payload that ships nothing."""
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": PARTITION_ARTIFACT,
        "config": descriptor(PARTITION_CONFIG),
        "layers": [],
        "annotations": {**PAYLOAD, ann.ARCHITECTURE: "arm64"},
    }
    return value | changes


def partition_config(**changes: Any) -> dict[str, Any]:
    """The config of a partition-based payload that ships nothing."""
    value = {
        "schemaVersion": 1,
        "mediaType": PARTITION_CONFIG,
        "resource_digest_alg": "sha256",
        "architecture": "arm64",
        "image_version": "1",
        "delivery": "direct",
        "partitions": [{"name": "identity"}],
        "labels": {ann.BLOBS_COUNT: 0, ann.BLOBS_SIZE: 0},
    }
    return value | changes
