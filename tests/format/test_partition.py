"""Payloads of the next generation: documents that agree with each other, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.media_types import (
    OCI_MANIFEST,
    PARTITION_ARTIFACT,
    UPDATE_AGENT_ARTIFACT,
    UPDATE_AGENT_BUNDLE,
)
from otabuild.format.partition import PartitionConfig, PartitionManifest, UpdateAgentManifest, uncompressed
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


@pytest.mark.parametrize("key", [ann.BLOBS_COUNT, ann.BLOBS_SIZE])
@pytest.mark.parametrize("number", [0, 2, 6])
def test_the_labels_count_the_layers(key: str, number: int) -> None:
    right = {ann.BLOBS_COUNT: 1, ann.BLOBS_SIZE: 5}
    value = partition_config(partitions=[{"name": "root", "image": blob("root")}], labels=right)
    layers = PartitionManifest.from_value(partition_manifest(layers=[blob("root")]), "m")
    PartitionConfig.from_value(value, "c").check(layers, "c")
    for wrong in (right | {key: number}, {name: count for name, count in right.items() if name != key}):
        with pytest.raises(FormatError, match=f"label {key} does not count the layers"):
            PartitionConfig.from_value(value | {"labels": wrong}, "c").check(layers, "c")


def test_a_compressed_layer_says_what_is_in_it() -> None:
    prefix = "vnd.tier4.ota.partition-image.uncompressed"
    says: dict[str, Any] = {f"{prefix}.digest": f"sha256:{'0b' * 32}", f"{prefix}.size": 7}
    found = uncompressed(Descriptor.from_value(descriptor("application/x+zstd", **says), "d"))
    assert found is not None
    assert (found.digest, found.size) == (bytes.fromhex("0b" * 32), 7)
    assert uncompressed(Descriptor.from_value(descriptor("application/x", **says), "d")) is None
    refused: list[dict[str, Any]] = [{}, {**says, f"{prefix}.size": 0}, {**says, f"{prefix}.digest": "sha256:0"}]
    for wrong in refused:
        with pytest.raises(FormatError, match=prefix):
            uncompressed(Descriptor.from_value(descriptor("application/x+zstd", **wrong), "d"))


def agent(**changes: Any) -> dict[str, Any]:
    kind, version = (f"vnd.tier4.ota.update-agent.{name}" for name in ("type", "version"))
    value = {
        "schemaVersion": 1,
        "mediaType": OCI_MANIFEST,
        "artifactType": UPDATE_AGENT_ARTIFACT,
        "layers": [descriptor(UPDATE_AGENT_BUNDLE, **{kind: "x", version: "1"})],
    }
    return value | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": [descriptor("application/json")]}, "layer 0 has the media type 'application/json'"),
        ({"layers": [*agent()["layers"], descriptor(UPDATE_AGENT_BUNDLE)]}, r"layer 1 lacks the annotation .*\.type"),
        (
            {"layers": [descriptor(UPDATE_AGENT_BUNDLE, **{"vnd.tier4.ota.update-agent.type": "x"})]},
            r"layer 0 lacks the annotation .*\.version",
        ),
        ({"schemaVersion": 2}, "schemaVersion"),
        ({"artifactType": PARTITION_ARTIFACT}, "artifactType"),
    ],
)
def test_the_bundles_of_an_update_agent_say_what_they_are(changes: dict[str, Any], said: str) -> None:
    assert UpdateAgentManifest.from_value(agent(), "m").to_value() == agent()
    with pytest.raises(FormatError, match=said):
        UpdateAgentManifest.from_value(agent(**changes), "m")
