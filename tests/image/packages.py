"""otaclient packages of forged images, and the files for legacy clients beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from otabuild.format.legacy_jwt import assemble_legacy, legacy_signing_input
from tests import pki
from tests.image.forge import Mutation, digest_text, sha256

KIND = "application/vnd.tier4.otaclient.release-package"
FOLDER = "data/opt/ota/otaclient_release/"
SIGNATURE = ("metadata.jwt", "certificate.pem")
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
OTHER_SQUASHFS = b"hsqs of another release"
OTHER_PACKAGE = {**PACKAGE, "size": len(OTHER_SQUASHFS), "checksum": digest_text(OTHER_SQUASHFS)}
OTHER_RELEASE = json.dumps({"schema_version": "1", "date": "2027", "packages": [OTHER_PACKAGE]}).encode()
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
