"""Targets: the JSON and YAML documents of an image, and what a key service answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from otabuild.format.document import Document
from otabuild.format.image_config import ImageConfig, jetson_bsp_version
from otabuild.format.index import Index, check_oci_layout
from otabuild.format.manifest import Manifest
from otabuild.format.otaclient import build_package
from otabuild.format.partition import PartitionConfig, PartitionManifest, UpdateAgentManifest
from otabuild.format.statement import PROVENANCE, Digests, Statement, Subject
from otabuild.format.strict_yaml import check_constructible, parse_yaml
from otabuild.format.sys_config import parse_sys_config, read_sys_config
from otabuild.recipe.fields import PathBase
from otabuild.recipe.load import parse_recipe
from otabuild.sbom.vex import check_vex
from otabuild.signing.answer import parse_answer
from tests import pki
from tests.fuzz import mutations
from tests.fuzz.target import Target
from tests.image.forge import forge
from tests.recipe import world

RECIPES = Path(world.HERE) / "good"


def _read(kind: type[Document]) -> Callable[[bytes], object]:
    def read(raw: bytes) -> object:
        document = kind.from_json(raw, "the document")
        document.to_json()
        return document

    return read


def _index(raw: bytes) -> object:
    index = Index.parse(raw)
    return index.payloads, index.unknown, index.update_agent, index.to_json()


def _sys_config(raw: bytes) -> None:
    read_sys_config(raw, "sys_config")
    parse_sys_config(raw, "sys_config")


def _strict(raw: bytes) -> None:
    tree, _remarks = parse_yaml(raw, "the document")
    tree.plain()
    check_constructible(raw, "the document")


def _recipe(raw: bytes) -> object:
    return parse_recipe(raw, "name", world.IN_GIT, PathBase("/folder", "/"), "r.yaml")


def _package(raw: bytes) -> object:
    return build_package(raw, "manifest.json")[2]


@cache
def _forged() -> dict[str, bytes]:
    """Return every JSON document of the forged image by the end of its media type."""
    found: dict[str, bytes] = {}
    for name, data in forge().files:
        if data[:1] == b"{":
            value = json.loads(data)
            found[name if name == "index.json" else value.get("mediaType", name)] = data
    return found


def _one(kind: str) -> dict[str, bytes]:
    (data,) = (data for name, data in _forged().items() if kind in name)
    return {"forged": data}


def _seed(**values: object) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in values.items()}


def _descriptor(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{'ab' * 32}", "size": 7, **more}


def _release() -> dict[str, bytes]:
    package = {
        "filename": "otaclient-x86_64-v3.10.0.squashfs",
        "version": "3.10.0",
        "type": "squashfs",
        "architecture": "x86_64",
        "size": 4096,
        "checksum": f"sha256:{'cd' * 32}",
        "metadata": None,
    }
    return _seed(release={"schema_version": "1", "date": "2026-01-01T00:00:00Z", "packages": [package]})


def _answers() -> dict[str, bytes]:
    raw = pki.raw_signature(pki.signer().ec_key, b"text")
    text = base64.b64encode(raw).decode()
    return {
        "raw": raw,
        "hex": raw.hex().encode(),
        "aws": json.dumps({"Signature": text, "SigningAlgorithm": "ECDSA_SHA_256"}).encode(),
        "vault": json.dumps({"data": {"signature": f"vault:v1:{text}"}}).encode(),
        "string": json.dumps(text).encode(),
    }


def _recipes() -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(RECIPES.glob("*.yaml"))}


def _statement() -> dict[str, bytes]:
    subject = Subject(name="index.json", digest=Digests(sha256="ab" * 32))
    return {"good": Statement(subject=(subject,), predicate_type=PROVENANCE, predicate={"a": [1]}).to_json()}


BASH = "pkg:deb/debian/bash@5.2?arch=amd64"
SBOM = {
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "version": 1,
    "metadata": {"component": {"bom-ref": "image"}},
    "components": [{"bom-ref": BASH, "purl": BASH}],
}


def _vex_seeds() -> dict[str, bytes]:
    product = {"@id": "image", "identifiers": {"purl": BASH}, "subcomponents": [{"@id": "pkg:deb/debian/bash"}]}
    return _seed(
        openvex={"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{"products": [product]}]},
        cyclonedx={
            "bomFormat": "CycloneDX",
            "components": [{"bom-ref": "own", "purl": BASH}],
            "vulnerabilities": [{"affects": [{"ref": "own"}, {"ref": f"urn:cdx:3e671687/1#{BASH}"}]}],
        },
    )


SYS_CONFIG = b"""hostname: main
extra_mounts:
  - {file_system: /dev/sda1, mount_point: /mnt, type: ext4, options: "ro,noatime", dump: 0, pass: 2}
swap: {filename: /swapfile, size: 4}
sysctl: [net.ipv4.ip_forward=1]
"""


_JSON = partial(Target, mutate=mutations.of_json)
_YAML = partial(Target, mutate=mutations.of_yaml)

TARGETS = {
    "index": _JSON(_index, lambda: _one("index.json")),
    "manifest": _JSON(_read(Manifest), lambda: _one("manifest.v1+json")),
    "config": _JSON(_read(ImageConfig), lambda: _one("config.v1+json")),
    "oci-layout": _JSON(check_oci_layout, lambda: {"good": b'{"imageLayoutVersion":"1.0.0"}'}),
    "otaclient": _JSON(_package, _release),
    "partition-manifest": _JSON(
        _read(PartitionManifest),
        lambda: _seed(
            small={
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.tier4.ota.partition-based-ota-image.v1",
                "config": _descriptor("application/vnd.tier4.ota.partition-based-ota-image.config.v1+json"),
                "layers": [_descriptor("application/vnd.tier4.ota.partition-image.v1+zstd")],
                "annotations": {"vnd.tier4.pilot-auto.platform.ecu": "main"},
            }
        ),
    ),
    "partition-config": _JSON(_read(PartitionConfig), lambda: _seed(small={"schemaVersion": 1, "partitions": []})),
    "update-agent": _JSON(_read(UpdateAgentManifest), lambda: _seed(small={"schemaVersion": 1, "layers": []})),
    "statement": _JSON(_read(Statement), _statement),
    "vex": _JSON(lambda raw: check_vex(raw, "the document", json.dumps(SBOM).encode()), _vex_seeds),
    "sys-config": _YAML(_sys_config, lambda: {"full": SYS_CONFIG}),
    "strict-yaml": _YAML(_strict, lambda: {"full": SYS_CONFIG} | _recipes()),
    "recipe": _YAML(_recipe, _recipes),
    "answer": Target(lambda raw: parse_answer(raw, "the answer"), _answers, mutations.of_json),
    "nv-tegra-release": Target(
        jetson_bsp_version, lambda: {"r35": b"# R35 (release), REVISION: 4.1, GCID: 33958178\n"}, mutations.of_text
    ),
}
