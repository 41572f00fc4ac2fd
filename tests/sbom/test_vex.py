"""VEX documents: about components of the bill of materials of their image, and shipped beside it as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otabuild.cli import main
from otabuild.errors import FormatError, InputError, LimitError, OtabuildError
from otabuild.image.image import open_image
from otabuild.packages.survey import read_inventories
from otabuild.sbom.cyclonedx import make_sbom
from otabuild.sbom.vex import LIMIT, check_vex, read_vex
from otabuild.storage.beside import documents_beside
from tests.image.products import Tree, build

BASH = "pkg:deb/debian/bash@5.2.15-2?arch=amd64&distro=debian-12"
TREE: Tree = {
    "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2\n",
    "usr/lib/modules/5.10.104-tegra/modules.dep": b"",
}


def openvex(*products: object) -> dict[str, Any]:
    """Return a document of one statement."""
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://vehicle.example/vex/1",
        "author": "team@vehicle.example",
        "timestamp": "2026-01-01T00:00:00Z",
        "version": 1,
        "statements": [
            {"vulnerability": {"name": "CVE-2026-1"}, "products": list(products), "status": "not_affected"},
        ],
    }


def cyclonedx(*refs: object, **keys: object) -> dict[str, Any]:
    """Return a document of one vulnerability."""
    affects = [{"ref": ref} for ref in refs]
    vulnerability = {"id": "CVE-2026-1", "analysis": {"state": "not_affected"}, "affects": affects}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "vulnerabilities": [vulnerability], **keys}


def raw_of(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image"), TREE, annotations={"project": {"name": "Vehicle"}})


@pytest.fixture(scope="module")
def sbom(image: Path) -> bytes:
    with open_image(image) as opened:
        return make_sbom(opened, list(read_inventories(opened.payloads)))


def link_to(sbom: bytes, ref: str) -> str:
    return f"{json.loads(sbom)['serialNumber'].replace('urn:uuid', 'urn:cdx')}/1#{ref}"


@pytest.mark.parametrize(
    "document",
    [
        openvex({"@id": BASH}),
        openvex({"@id": "pkg:deb/debian/bash"}),
        openvex({"@id": "pkg:deb/debian/bash@5.2.15-2?distro=debian-12"}),
        openvex({"@id": "https://vehicle.example/1", "identifiers": {"purl": "pkg:deb/debian/bash?arch=amd64"}}),
        openvex({"identifiers": {"cpe23": "cpe:2.3:o:linux:linux_kernel:5.10.104:*:*:*:*:*:*:*"}}),
        openvex({"@id": "pkg:oci/vehicle", "subcomponents": [{"@id": BASH}, {"@id": "os:debian@12"}]}),
        cyclonedx(BASH, "os:debian@12"),
        cyclonedx("own", components=[{"bom-ref": "own", "purl": "pkg:deb/debian/bash@5.2.15-2"}]),
    ],
)
def test_a_component_has_several_names(sbom: bytes, document: object) -> None:
    check_vex(raw_of(document), "file", sbom)


def test_a_link_leads_into_this_bill_of_materials(sbom: bytes) -> None:
    for ref in (
        BASH,
        "pkg%3Adeb%2Fdebian%2Fbash%405.2.15-2%3Farch%3Damd64%26distro%3Ddebian-12",
        "pkg:deb/debian/bash",
    ):
        check_vex(raw_of(cyclonedx(link_to(sbom, ref))), "file", sbom)
    other = f"urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#{BASH}"
    with pytest.raises(InputError, match="not in the bill of materials"):
        check_vex(raw_of(cyclonedx(other)), "file", sbom)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (openvex({"@id": "pkg:deb/debian/bsah"}), "statements[0].products[0]"),
        (openvex({"@id": BASH}, {"@id": "pkg:deb/debian/bash@5.2.15-1"}), "statements[0].products[1]"),
        (openvex({"@id": "pkg:deb/debian/bash?arch=arm64"}), "statements[0].products[0]"),
        (openvex({"@id": "pkg:deb/ubuntu/bash"}), "statements[0].products[0]"),
        (openvex({"@id": "pkg:oci/vehicle", "subcomponents": [{"@id": "x"}]}), "statements[0].products[0].subcomponents[0]"),
        (openvex({"hashes": {"sha-256": "00"}}), "statements[0].products[0]"),
        (openvex({"@id": 7, "identifiers": [BASH]}), "statements[0].products[0]"),
        (openvex(), "statements[0]"),
        (cyclonedx(BASH, "own"), "vulnerabilities[0].affects[1]"),
        (cyclonedx("own", components=[{"bom-ref": "own"}]), "vulnerabilities[0].affects[0]"),
        (cyclonedx(), "vulnerabilities[0]"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_image_is_refused_by_its_place(sbom: bytes, document: object, place: str) -> None:
    with pytest.raises(InputError, match="not in the bill of materials") as caught:
        check_vex(raw_of(document), "file", sbom)
    assert caught.value.where == f"file: {place}"


@pytest.mark.parametrize(
    ("raw", "what", "where"),
    [
        (b"", "not strict JSON", "file"),
        (b"[]", "not a VEX document", "file"),
        (raw_of({"statements": []}), "not a VEX document", "file"),
        (raw_of({"@context": "https://openvex.dev/ns"}), "not a VEX document", "file"),
        (raw_of({"bomFormat": "CycloneDX", "components": []}), "not a VEX document", "file"),
        (raw_of(openvex("pkg:deb/debian/bash")), "not an object", "file: statements[0].products[0]"),
        (raw_of({"@context": "https://openvex.dev/ns", "statements": {}}), "not a list", "file: statements"),
        (raw_of({"bomFormat": "CycloneDX", "vulnerabilities": [{"affects": 1}]}), "not a list", "file: vulnerabilities[0].affects"),
        (raw_of(cyclonedx(BASH)).replace(b'"id"', b'"affects"'), "not strict JSON", "file"),
    ],
)  # fmt: skip
def test_what_is_no_vex_document_is_refused(raw: bytes, what: str, where: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_vex(raw, "file")
    assert (caught.value.what, caught.value.where) == (what, where)


@pytest.mark.parametrize("raw", [b" " * (LIMIT + 1), b'{"@context":' + b"[" * 100_000])
def test_a_hostile_document_is_one_error(raw: bytes) -> None:
    with pytest.raises(LimitError):
        read_vex(raw, "file")


def test_the_command_checks_it_and_writes_both(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "given.json").write_bytes(raw_of(openvex({"@id": BASH})))
    (tmp_path / "wrong.json").write_bytes(raw_of(openvex({"@id": "pkg:deb/debian/zsh"})))
    output, beside = tmp_path / "vehicle.cdx.json", tmp_path / "vehicle.vex.json"
    sbom = ["sbom", str(image), "-o", str(output), "--vex"]
    assert main([*sbom, str(tmp_path / "wrong.json")]) == 1
    assert "pkg:deb/debian/zsh" in capsys.readouterr().err
    assert not output.exists()
    assert main([*sbom, str(tmp_path / "given.json")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(output), str(beside)]
    assert beside.read_bytes() == (tmp_path / "given.json").read_bytes()
    assert main(["sbom", str(image), "--vex", str(tmp_path / "given.json")]) == 0
    assert capsys.readouterr().out == output.read_text()


def test_a_recipe_ships_it_beside_the_artifact(tmp_path: Path) -> None:
    raw = raw_of(openvex({"@id": BASH}))
    (tmp_path / "given.json").write_bytes(raw)
    artifact = build(tmp_path, TREE, sbom={"format": "cyclonedx", "vex": "given.json"})
    assert documents_beside(str(artifact)) == [f"{artifact}.cdx.json", f"{artifact}.vex.json"]
    assert Path(f"{artifact}.vex.json").read_bytes() == raw


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (openvex({"@id": "pkg:deb/debian/zsh"}), "given.json: statements[0].products[0]: the VEX document is about"),
        ({}, "given.json: not a VEX document"),
        (None, "no such file"),
    ],
)
def test_an_error_has_the_line_of_the_recipe(tmp_path: Path, document: object, what: str) -> None:
    if document is not None:
        (tmp_path / "given.json").write_bytes(raw_of(document))
    with pytest.raises(OtabuildError) as caught:
        build(tmp_path, TREE, sbom={"format": "cyclonedx", "vex": "given.json"})
    assert f"{tmp_path}/recipe.yaml:21:8: sbom.vex: " in str(caught.value)
    assert what in str(caught.value)
    assert not list(tmp_path.glob("*.vex.json"))
