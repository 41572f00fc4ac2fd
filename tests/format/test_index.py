"""index.json: what it may hold how often, and what is found in it (section 2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.index import Index, check_oci_layout, payload_id
from otabuild.format.media_types import (
    OCI_MANIFEST,
    OTACLIENT_ARTIFACT,
    OTACLIENT_MANIFEST,
    PARTITION_ARTIFACT,
    PAYLOAD_ARTIFACT,
    RESOURCE_TABLE_ZSTD,
    UPDATE_AGENT_ARTIFACT,
    UPDATE_AGENT_MANIFEST,
)
from tests.format.documents import descriptor, index, payload

PACKAGE = descriptor(OTACLIENT_MANIFEST, artifact_type=OTACLIENT_ARTIFACT)
AGENT = descriptor(UPDATE_AGENT_MANIFEST, artifact_type=UPDATE_AGENT_ARTIFACT)
TABLE = descriptor(RESOURCE_TABLE_ZSTD)
PARTITIONS = descriptor(OCI_MANIFEST, artifact_type=PARTITION_ARTIFACT, **{ann.ECU: "parts"})


def parse(value: dict[str, Any]) -> Index:
    return Index.parse(json.dumps(value).encode())


def test_the_smallest_index() -> None:
    found = parse(index())
    assert [payload_id(one) for one in found.payloads] == [("main", "dev")]
    assert found.resource_table.media_type == RESOURCE_TABLE_ZSTD
    assert (found.otaclient_package, found.update_agent, found.unknown) == (None, None, ())
    assert (found.created_at, found.signed_at) == (None, None)


def test_each_entry_is_found_by_its_type() -> None:
    odd, typeless = descriptor("application/json"), descriptor(OCI_MANIFEST, **{ann.ECU: "x"})
    found = parse(index(PACKAGE, AGENT, PARTITIONS, odd, typeless))
    assert found.otaclient_package is not None
    assert found.update_agent is not None
    assert [payload_id(one) for one in found.partition_payloads] == [("parts", "dev")]
    assert [one.to_value() for one in found.unknown] == [odd, typeless]


@pytest.mark.parametrize("kind", [PAYLOAD_ARTIFACT, PARTITION_ARTIFACT])
def test_a_payload_with_a_release_key_that_no_client_knows_is_unknown(kind: str) -> None:
    odd = descriptor(OCI_MANIFEST, artifact_type=kind, **{ann.ECU: "x", ann.RELEASE_KEY: "test"})
    found = parse(index(odd))
    assert [one.to_value() for one in found.unknown] == [odd]


def test_a_package_without_its_artifact_type_is_unknown_to_clients() -> None:
    found = parse(index(descriptor(OTACLIENT_MANIFEST)))
    assert found.unknown == (found.otaclient_package,)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([TABLE], "2 resource tables: expected exactly one"),
        ([PACKAGE, PACKAGE], "2 otaclient packages: at most one"),
        ([AGENT, AGENT, AGENT], "3 update agent packages: at most one"),
        ([payload()], "two payloads share ecu and release key: main/dev"),
        ([descriptor(OCI_MANIFEST, artifact_type=PARTITION_ARTIFACT, **{ann.ECU: "main"})], "share .*: main/dev"),
        ([payload(**{ann.ECU: ""})], f"has no {ann.ECU}"),
    ],
)
def test_what_may_be_there_once_only(entries: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse(index(*entries))


def test_only_partitions_need_no_resource_table() -> None:
    alone = index() | {"manifests": [PARTITIONS]}
    found = parse(alone)
    assert not found.has_resource_table
    with pytest.raises(FormatError, match=r"index\.json: no resource table"):
        _ = found.resource_table
    for manifests in [], [payload()], [payload(), PARTITIONS]:
        with pytest.raises(FormatError, match="0 resource tables"):
            parse(index() | {"manifests": manifests})


@pytest.mark.parametrize("key", [ann.CREATED_AT, ann.SIGNED_AT])
def test_times_end_with_the_calendar(key: str) -> None:
    found = parse(index(**{key: limits.TIME}))
    assert limits.TIME in (found.created_at, found.signed_at)
    with pytest.raises(FormatError, match="later than the year 9999"):
        parse(index(**{key: limits.TIME + 1}))


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({ann.BUILDER_VERSION: 1}, "not a string"),
        ({ann.BLOBS_COUNT: -1}, "not a whole number from 0"),
        ({ann.CREATED_AT: True}, "not a whole number from 0"),
    ],
)
def test_annotations_have_the_types_that_clients_expect(annotations: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse(index(**annotations))


def test_the_builder_is_named() -> None:
    with pytest.raises(FormatError, match=f"annotation {ann.BUILDER_VERSION} is missing"):
        parse(index() | {"annotations": {}})


@pytest.mark.parametrize("raw", [b"{}", b'{"imageLayoutVersion":"2.0.0"}', b'{"imageLayoutVersion":"1.0.0","x":1}'])
def test_an_oci_layout_of_another_kind_is_refused(raw: bytes) -> None:
    check_oci_layout(b'{ "imageLayoutVersion" : "1.0.0" }')
    with pytest.raises(FormatError, match="oci-layout: unknown layout"):
        check_oci_layout(raw)
