"""The manifest and the config of a payload: what they must say (sections 3 and 4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format.image_config import ImageConfig
from otabuild.format.manifest import Manifest
from otabuild.format.media_types import FILE_TABLE, FILE_TABLE_ZSTD, SYS_CONFIG_OLD
from tests.format.documents import PAYLOAD, config, descriptor, manifest

HARDWARE = {**PAYLOAD, ann.ARCHITECTURE: "arm64"}


def test_a_manifest_names_its_table() -> None:
    found = Manifest.from_json(json.dumps(manifest(layers=[descriptor(FILE_TABLE)])).encode(), "m")
    assert (found.file_table.media_type, found.release_key, found.architecture) == (FILE_TABLE, "dev", "arm64")


def test_the_release_key_of_a_manifest_may_be_left_out() -> None:
    found = Manifest.from_value(manifest(annotations={ann.ECU: "main", ann.ARCHITECTURE: "arm64"}), "m")
    assert found.release_key == "dev"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": descriptor("application/json")}, "config has the media type 'application/json'"),
        ({"layers": []}, "0 layers: expected exactly one"),
        ({"layers": [descriptor(FILE_TABLE_ZSTD)] * 2}, "2 layers: expected exactly one"),
        ({"layers": [descriptor("application/json")]}, "the layer has the media type 'application/json'"),
        ({"annotations": PAYLOAD}, f"annotation {ann.ARCHITECTURE} is missing"),
        ({"annotations": HARDWARE | {ann.ECU: ""}}, f"annotation {ann.ECU} is missing"),
        ({"annotations": HARDWARE | {ann.RELEASE_KEY: "test"}}, "unknown release key 'test'"),
        ({"annotations": HARDWARE | {ann.RELEASE_KEY: 1}}, "not a string"),
    ],
)
def test_manifests_that_clients_refuse(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        Manifest.from_value(manifest(**changes), "m")


def test_a_config_may_have_either_type_of_sys_config() -> None:
    found = ImageConfig.from_value(config(sys_config=descriptor(SYS_CONFIG_OLD)), "c")
    assert found.sys_config is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file_table": descriptor("application/json")}, "file_table has the media type 'application/json'"),
        ({"sys_config": descriptor("text/yaml")}, "sys_config has the media type 'text/yaml'"),
        ({"labels": {}}, f"label {ann.BASE_IMAGE} is missing"),
        ({"labels": {ann.BASE_IMAGE: "x", ann.DIRS_COUNT: -1}}, "not a whole number from 0"),
        ({"resource_digest_alg": "sha1"}, "resource_digest_alg: input should be 'sha256'"),
    ],
)
def test_configs_that_clients_refuse(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        ImageConfig.from_value(config(**changes), "c")
