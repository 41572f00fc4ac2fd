"""Payloads of the next generation: documents that agree with each other, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format.partition import PartitionConfig, PartitionManifest
from tests.format.documents import PAYLOAD, descriptor, partition_config, partition_manifest


def blob(name: str) -> dict[str, Any]:
    return descriptor(f"application/x-{name}") | {"digest": f"sha256:{name[0].encode().hex() * 32}"}


def test_layers_are_what_the_config_ships_in_its_order() -> None:
    """Of a part, a delta goes before its image; the package of a vendor comes last."""
    shipped = [blob("root-delta"), blob("maps"), blob("firmware"), blob("vendor")]
    config = partition_config(
        delivery="vendor-package",
        partitions=[{"name": "root", "image": blob("image"), "delta": shipped[0]}, {"name": "identity"}],
        data_images=[{"name": "maps", "image": shipped[1]}],
        firmware={"name": "uefi", "package": shipped[2]},
        package=shipped[3],
        labels={ann.BLOBS_COUNT: 4, ann.BLOBS_SIZE: 20},
    )
    parsed = PartitionConfig.from_value(config, "c")
    parsed.check(PartitionManifest.from_value(partition_manifest(layers=shipped), "m"), "c")
    with pytest.raises(FormatError, match="not the blobs that the config ships"):
        parsed.check(PartitionManifest.from_value(partition_manifest(layers=shipped[:-1]), "m"), "c")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": descriptor("application/json")}, "config has the media type 'application/json'"),
        ({"annotations": PAYLOAD}, f"annotation {ann.ARCHITECTURE} is missing"),
        ({"annotations": {ann.ARCHITECTURE: "arm64"}}, f"annotation {ann.ECU} is missing"),
    ],
)
def test_manifests_that_are_incomplete(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        PartitionManifest.from_value(partition_manifest(**changes), "m")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delivery": "vendor-package"}, "a package belongs to the delivery vendor-package"),
        ({"package": blob("vendor")}, "a package belongs to the delivery vendor-package"),
        ({"partitions": [{"name": "a"}, {"name": "a"}]}, "two partitions share a name"),
        ({"data_images": [{"name": "a"}, {"name": "a"}]}, "two data images share a name"),
    ],
)
def test_configs_that_contradict_themselves(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        PartitionConfig.from_value(partition_config(**changes), "c")
