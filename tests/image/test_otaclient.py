"""The otaclient package of an image and the files for legacy clients, as verification sees them (section 9)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.format.legacy_jwt import assemble_legacy, legacy_signing_input
from tests import pki
from tests.image import forge, worlds
from tests.image.forge import Mutation, digest_text, sha256

KIND = "application/vnd.tier4.otaclient.release-package"
FOLDER = "data/opt/ota/otaclient_release/"
SQUASHFS = b"hsqs" + bytes(100)
PACKAGE = {
    "filename": "otaclient.squashfs",
    "version": "1",
    "type": "squashfs",
    "architecture": "arm64",
    "size": len(SQUASHFS),
    "checksum": digest_text(SQUASHFS),
}
RELEASE = json.dumps({"schema_version": "1", "date": "2026", "packages": [PACKAGE]}).encode()
Change = Callable[[dict[str, Any]], Any]


def described(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": f"{KIND}.{kind}", "digest": digest_text(data), "size": len(data), **more}


def with_package(
    manifest: Change = lambda _: None, descriptor: Change = lambda _: None, legacy: tuple[str, ...] = ()
) -> dict[str, Mutation]:
    """Return the stages of an image with a package, with changes of it and of the legacy files."""
    facts = {key: value for key, value in PACKAGE.items() if key != "filename"}
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": f"{KIND}.v1",
        "config": described(RELEASE, "manifest.v1+json"),
        "layers": [described(SQUASHFS, "v1.squashfs", annotations=facts)],
        "annotations": {"date": "2026"},
    }
    manifest(value)
    raw = json.dumps(value).encode()
    named = described(raw, "manifest.v1+json", artifactType=f"{KIND}.v1")
    descriptor(named)
    pem = pki.signer().pem
    signed = legacy_signing_input(pem)
    contents = {
        "metadata.jwt": assemble_legacy(signed, pki.raw_signature(pki.signer().ec_key, signed), pem),
        "certificate.pem": pem,
        "manifest.json": RELEASE,
        "otaclient.squashfs": SQUASHFS,
    }

    def files(found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        more = [(name if name in SIGNATURE else FOLDER + name, contents[name]) for name in legacy]
        if any(name.startswith(FOLDER) for name, _ in more):
            more += [(FOLDER[:end], b"") for end in (5, 9, 13, len(FOLDER))]
        return found[:2] + sorted(found[2:] + more)

    return {
        "manifests": lambda found: [found[0], named, found[1]],
        "blob_files": lambda names: names.update(
            {f"blobs/sha256/{sha256(blob).hex()}": blob for blob in (RELEASE, SQUASHFS, raw)}
        ),
        "files": files,
    }


SIGNATURE = ("metadata.jwt", "certificate.pem")


@pytest.mark.parametrize("legacy", [(), (*SIGNATURE, "manifest.json", "otaclient.squashfs")])
def test_good_package_has_no_finding(legacy: tuple[str, ...], tmp_path: Path) -> None:
    path = forge.forge(**with_package(legacy=legacy)).artifact(tmp_path / "image.zip")
    assert worlds.verified(path, strict=True).findings == ()


@pytest.mark.parametrize(
    "legacy",
    [SIGNATURE, (*SIGNATURE, "manifest.json"), (*SIGNATURE, "otaclient.squashfs"), ("manifest.json",)],
)
def test_legacy_files_that_are_missing_are_found(legacy: tuple[str, ...], tmp_path: Path) -> None:
    assert worlds.errors_of(forge.forge(**with_package(legacy=legacy)).artifact(tmp_path / "image.zip")) == {"legacy"}


def test_descriptor_without_its_artifact_type_is_found(tmp_path: Path) -> None:
    changed = with_package(descriptor=lambda named: named.pop("artifactType"))
    assert worlds.errors_of(forge.forge(**changed).artifact(tmp_path / "image.zip")) == {"index.unknown"}


def test_manifest_without_its_artifact_type_is_noted(tmp_path: Path) -> None:
    changed = with_package(manifest=lambda value: value.pop("artifactType"))
    report = worlds.verified(forge.forge(**changed).artifact(tmp_path / "image.zip"))
    assert [finding.rule for finding in report.findings] == ["otaclient.artifact-type"]
    assert report.ok


@pytest.mark.parametrize("size", [float(len(SQUASHFS)), str(len(SQUASHFS)), 5])
def test_annotation_that_is_not_the_number_of_the_release_is_found(size: object, tmp_path: Path) -> None:
    changed = with_package(manifest=lambda value: value["layers"][0]["annotations"].update(size=size))
    assert worlds.errors_of(forge.forge(**changed).artifact(tmp_path / "image.zip")) == {"otaclient"}
