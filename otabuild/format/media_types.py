"""Media types and artifact types of OTA image version 1."""

from __future__ import annotations

from typing import Final

_OTA: Final = "application/vnd.tier4.ota.file-based-ota-image"

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"

PAYLOAD_ARTIFACT: Final = "application/vnd.tier4.ota.file-based-ota-image.v1"
IMAGE_CONFIG: Final = "application/vnd.tier4.ota.file-based-ota-image.config.v1+json"
FILE_TABLE: Final = f"{_OTA}.file_table.v1.sqlite3"
FILE_TABLE_ZSTD: Final = f"{FILE_TABLE}+zstd"
RESOURCE_TABLE: Final = f"{_OTA}.resource_table.v1.sqlite3"
RESOURCE_TABLE_ZSTD: Final = f"{RESOURCE_TABLE}+zstd"

SYS_CONFIG: Final = "application/vnd.tier4.ota.sys-config.v1+yaml"
SYS_CONFIG_OLD: Final = f"{_OTA}.config.v1+yaml"

OTACLIENT_ARTIFACT: Final = "application/vnd.tier4.otaclient.release-package.v1"
OTACLIENT_MANIFEST: Final = "application/vnd.tier4.otaclient.release-package.manifest.v1+json"
OTACLIENT_SQUASHFS: Final = "application/vnd.tier4.otaclient.release-package.v1.squashfs"

_PARTITION: Final = "application/vnd.tier4.ota.partition-based-ota-image"
_AGENT: Final = "application/vnd.tier4.ota.update-agent"
PARTITION_ARTIFACT: Final = f"{_PARTITION}.v1"
PARTITION_CONFIG: Final = f"{_PARTITION}.config.v1+json"
UPDATE_AGENT_ARTIFACT: Final = f"{_AGENT}.release-package.v1"
UPDATE_AGENT_MANIFEST: Final = f"{_AGENT}.release-package.manifest.v1+json"
UPDATE_AGENT_BUNDLE: Final = f"{_AGENT}.bundle.v1"

FILE_TABLES: Final = (FILE_TABLE_ZSTD, FILE_TABLE)
RESOURCE_TABLES: Final = (RESOURCE_TABLE_ZSTD, RESOURCE_TABLE)
SYS_CONFIGS: Final = (SYS_CONFIG, SYS_CONFIG_OLD)
