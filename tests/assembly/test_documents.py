"""The documents of an image say what the recipe says: each of its keys is seen at its place (sections 2 to 4)."""

from __future__ import annotations

from dataclasses import replace

from otabuild.assembly.documents import PayloadSpec, image_config, index, manifest, payload_descriptor
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.media_types import (
    FILE_TABLE_ZSTD,
    IMAGE_CONFIG,
    OCI_MANIFEST,
    PAYLOAD_ARTIFACT,
    RESOURCE_TABLE_ZSTD,
    SYS_CONFIG,
)
from otabuild.version import __version__
from tests.assembly.worlds import blob

TABLE = Descriptor.of(b"table", FILE_TABLE_ZSTD)
RESOURCES = Descriptor.of(b"resources", RESOURCE_TABLE_ZSTD)
CONFIG = Descriptor.of(b"config", IMAGE_CONFIG)
FULL = PayloadSpec(
    ecu="main",
    release_key="prd",
    architecture="arm64",
    base_image="debian:12",
    labels={ann.ROOTFS_SIZE: 12, ann.DIRS_COUNT: 0},
    file_table=TABLE,
    sys_config=Descriptor.of(b"sys", SYS_CONFIG),
    description="The main computer.",
    os_name="Example",
    os_version="12.1",
    bsp_version="r35",
    platform="demo",
    hardware_model="orin-agx",
    hardware_series="orin",
)
BARE = replace(
    FULL,
    sys_config=None,
    description=None,
    os_name=None,
    os_version=None,
    bsp_version=None,
    platform=None,
    hardware_model=None,
    hardware_series=None,
)


def test_a_config_with_everything() -> None:
    found = image_config(FULL, 1_767_225_600).to_value()
    assert found["description"] == "The main computer."
    assert found["created"] == "2026-01-01T00:00:00Z"
    assert (found["architecture"], found["os"], found["os.version"]) == ("arm64", "Example", "12.1")
    assert found["sys_config"] == Descriptor.of(b"sys", SYS_CONFIG).to_value()
    assert found["file_table"] == TABLE.to_value()
    assert found["labels"] == {
        ann.BASE_IMAGE: "debian:12",
        ann.OS_NAME: "Example",
        ann.OS_VERSION: "12.1",
        ann.BSP_VERSION: "r35",
        ann.ROOTFS_SIZE: 12,
        ann.DIRS_COUNT: 0,
    }


def test_a_manifest_with_everything() -> None:
    found = manifest(FULL, CONFIG).to_value()
    assert found["artifactType"] == PAYLOAD_ARTIFACT
    assert found["config"] == CONFIG.to_value()
    assert found["layers"] == [TABLE.to_value()]
    assert found["annotations"] == {
        ann.ECU: "main",
        ann.RELEASE_KEY: "prd",
        ann.ARCHITECTURE: "arm64",
        ann.PLATFORM: "demo",
        ann.HARDWARE_MODEL: "orin-agx",
        ann.HARDWARE_SERIES: "orin",
        ann.BSP_VERSION: "r35",
    }


def test_what_is_not_said_is_left_out() -> None:
    config = image_config(BARE, 0).to_value()
    assert not {"description", "os", "os.version", "sys_config"} & config.keys()
    assert config["labels"] == {ann.BASE_IMAGE: "debian:12", **FULL.labels}
    assert manifest(BARE, CONFIG).to_value()["annotations"] == {
        ann.ECU: "main",
        ann.RELEASE_KEY: "prd",
        ann.ARCHITECTURE: "arm64",
    }


def test_a_payload_is_named_in_the_index_by_ecu_and_key() -> None:
    found = payload_descriptor(FULL, b"manifest")
    assert (found.media_type, found.artifact_type) == (OCI_MANIFEST, PAYLOAD_ARTIFACT)
    assert (found.digest, found.size) == blob(b"manifest")
    assert found.annotations == {ann.ECU: "main", ann.RELEASE_KEY: "prd"}


def test_an_index_counts_its_blobs() -> None:
    blobs = [blob(b"one"), blob(b"three")]
    made = index(
        [payload_descriptor(FULL, b"manifest"), RESOURCES], {"org.example": "x"}, blobs, created_at=5, signed_at=6
    ).to_value()
    assert made["manifests"] == [payload_descriptor(FULL, b"manifest").to_value(), RESOURCES.to_value()]
    assert made["annotations"] == {
        "org.example": "x",
        ann.BUILDER_VERSION: f"otabuild {__version__}",
        ann.CREATED_AT: 5,
        ann.SIGNED_AT: 6,
        ann.BLOBS_COUNT: 2,
        ann.BLOBS_SIZE: 8,
    }


def test_an_unsigned_index_has_no_time_of_signing_and_zeros_stay() -> None:
    made = index([RESOURCES], {}, [], created_at=0, signed_at=None).to_value()["annotations"]
    assert ann.SIGNED_AT not in made
    assert (made[ann.CREATED_AT], made[ann.BLOBS_COUNT], made[ann.BLOBS_SIZE]) == (0, 0, 0)
