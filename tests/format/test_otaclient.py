"""The otaclient package: from a release folder's manifest.json to the manifest blob, and back."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import Any

import pytest

from otabuild.errors import FormatError, IntegrityError, LimitError
from otabuild.format import media_types
from otabuild.format.document import dump_json
from otabuild.format.otaclient import build_package, parse_package
from tests.shared import REFERENCE, has_fixtures

CHECKSUM = f"sha256:{hashlib.sha256(b'package').hexdigest()}"


def package(**changes: Any) -> dict[str, Any]:
    return {
        "filename": "otaclient-arm64-v3.9.1.squashfs",
        "version": "3.9.1",
        "type": "squashfs",
        "architecture": "arm64",
        "size": 7,
        "checksum": CHECKSUM,
        **changes,
    }


def release(*packages: dict[str, Any], **changes: Any) -> bytes:
    listed = packages or (package(), package(filename="otaclient-x86_64-v3.9.1.squashfs", architecture="x86_64"))
    return dump_json({"schema_version": "1", "date": "2026-01-01T00:00:00Z", "packages": listed, **changes})


def changed(**changes: Any) -> bytes:
    _, manifest, _ = build_package(release(), "manifest.json")
    return dump_json({**json.loads(manifest), **changes})


def test_round_trip() -> None:
    raw = release()
    built, manifest, descriptor = build_package(raw, "manifest.json")
    parsed, read = parse_package(manifest, raw, "blob")
    assert read == built
    assert [layer.size for layer in parsed.layers] == [7, 7]
    assert descriptor.media_type == media_types.OTACLIENT_MANIFEST
    assert descriptor.artifact_type == media_types.OTACLIENT_ARTIFACT
    assert descriptor.digest == hashlib.sha256(manifest).digest()
    value = json.loads(manifest)
    assert value["artifactType"] == media_types.OTACLIENT_ARTIFACT
    assert value["config"]["digest"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert value["annotations"] == {"date": "2026-01-01T00:00:00Z"}
    assert value["layers"][0]["annotations"] == {
        "version": "3.9.1",
        "type": "squashfs",
        "architecture": "arm64",
        "size": 7,
        "checksum": CHECKSUM,
    }


def test_only_squashfs_travels() -> None:
    raw = release(package(), package(filename="patch.bin", type="patch"))
    built, manifest, _ = build_package(raw, "manifest.json")
    assert len(json.loads(manifest)["layers"]) == 1
    assert len(built.packages) == 2
    with pytest.raises(FormatError, match="no squashfs package"):
        build_package(release(package(type="patch")), "manifest.json")


def test_a_file_name_is_as_long_as_the_format_allows() -> None:
    build_package(release(package(filename="x" * 255)), "manifest.json")
    with pytest.raises(FormatError, match="is longer than 255 bytes"):
        build_package(release(package(filename="é" * 128)), "manifest.json")


def test_unknown_fields_are_kept() -> None:
    built, _, _ = build_package(release(package(extra=1), note="x"), "manifest.json")
    assert built.to_value()["note"] == "x"
    assert built.packages[0].to_value()["extra"] == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "a/b", "..\\x", "a\nb", "manifest.json", "x" * 256, "\x00"]
)
def test_unsafe_file_names(name: str) -> None:
    with pytest.raises(FormatError, match=r"packages\[0\]\.filename"):
        build_package(release(package(filename=name)), "manifest.json")


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "mips"},
        {"size": -1},
        {"size": "7"},
        {"size": 7.0},
        {"checksum": "sha256:12"},
        {"checksum": CHECKSUM.upper()},
        {"version": 3},
        {"type": 1},
    ],
    ids=str,
)
def test_wrong_packages(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"packages\[0\]\." + next(iter(change))):
        build_package(release(package(**change)), "manifest.json")


def test_wrong_releases() -> None:
    with pytest.raises(FormatError, match="names a file twice"):
        build_package(release(package(), package(filename="OTAclient-arm64-v3.9.1.squashfs")), "m")
    with pytest.raises(FormatError, match="date"):
        build_package(release(date=5), "m")
    with pytest.raises(FormatError, match="not strict JSON"):
        build_package(b'{"date": "a", "date": "b"}', "m")
    with pytest.raises(LimitError):
        build_package(b" " * (1 << 21), "m")


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"mediaType": "application/json"},
        {"artifactType": "application/x"},
        {"config": {**json.loads(changed())["config"], "mediaType": "application/json"}},
        {"layers": [{**json.loads(changed())["layers"][0], "mediaType": "application/json"}]},
        {"layers": []},
        {"layers": json.loads(changed())["layers"][:1]},
        {"layers": [{**layer, "size": 8} for layer in json.loads(changed())["layers"]]},
        {"layers": [{**layer, "annotations": {}} for layer in json.loads(changed())["layers"]]},
        {"annotations": {"date": "2027-01-01T00:00:00Z"}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_manifest_that_does_not_hold(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_package(changed(**change), release(), "blob")


@pytest.mark.parametrize("key", ["schemaVersion", "mediaType", "config", "layers"])
def test_manifest_that_lacks_a_field(key: str) -> None:
    value = json.loads(changed())
    del value[key]
    with pytest.raises(FormatError, match=f"{key}: field required"):
        parse_package(dump_json(value), release(), "blob")


def test_order_of_layers_and_absent_artifact_type_do_not_matter() -> None:
    value = json.loads(changed())
    del value["artifactType"]
    parse_package(dump_json({**value, "layers": value["layers"][::-1]}), release(), "blob")


def test_config_that_is_another() -> None:
    with pytest.raises(IntegrityError):
        parse_package(changed(), release(note="x"), "blob")


@has_fixtures
def test_reference_image() -> None:
    with zipfile.ZipFile(REFERENCE) as image:

        def blob(digest: str) -> bytes:
            return image.read(f"blobs/sha256/{digest[7:]}")

        [found] = [
            entry
            for entry in json.loads(image.read("index.json"))["manifests"]
            if entry["mediaType"] == media_types.OTACLIENT_MANIFEST
        ]
        manifest = blob(found["digest"])
        raw = blob(json.loads(manifest)["config"]["digest"])
        _, read = parse_package(manifest, raw, "blob")
        for part in read.packages:
            assert f"sha256:{hashlib.sha256(blob(part.checksum)).hexdigest()}" == part.checksum
        rebuilt = json.loads(build_package(raw, "m")[1])
    del rebuilt["artifactType"]
    assert rebuilt == json.loads(manifest)
