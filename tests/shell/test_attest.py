"""Attestations end to end: build, attest, verify, rebuild from what was recorded; and what each refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.shell.projects import Project, make_project

BUILDER = "https://ci.example/job/7"
CA = ("--ca", "pki/root-ca.pem")
RECIPE = "recipes/vehicle.yaml"
BESIDE = "dist/vehicle.zip.provenance.json"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def ok(project: Project, *arguments: str) -> str:
    done = project.otabuild(*arguments)
    assert done.code == 0, done.out + done.err
    return done.out


def statement(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
    return value


def test_a_build_says_how_it_was_made(project: Project) -> None:
    (project.root / "recipes/vehicle.yaml").write_text(project.recipe.read_text() + "provenance: true\n")
    assert "who builds is not known" in project.otabuild("build", RECIPE).err
    project.env["OTABUILD_BUILDER_ID"] = BUILDER
    project.build()
    said = statement(project.root / BESIDE)
    subjects = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
    assert subjects["vehicle.zip"] == project.sha256
    assert set(subjects) == {"vehicle.zip", "index.json", "payload main/dev"}
    definition, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    assert run["builder"]["id"] == BUILDER
    assert {"otabuild", "libzstd", "sqlite", "cryptography", "msgpack"} <= set(run["builder"]["version"])
    assert definition["externalParameters"]["parameters"]["annotations"] == {"vnd.tier4.pilot-auto.platform": "test"}
    inputs = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    assert inputs["recipe"] == {"sha256": hashlib.sha256(project.recipe.read_bytes()).hexdigest()}
    assert set(inputs) == {"recipe", "rootfs.main.source.0.directory"}
    assert "sign.key" not in json.dumps(said)
    out = ok(project, "verify", "dist/vehicle.zip", *CA, "--provenance", BESIDE)
    assert f"made from {RECIPE} by https://ci.example/job/7" in out


def test_a_comment_in_the_recipe_is_another_recipe(project: Project) -> None:
    """The image stays the same, but its provenance names the recipe by its digest."""
    project.env["OTABUILD_BUILDER_ID"] = BUILDER
    for comment in ("", "# a comment\n"):
        text = f"{comment}{project.recipe.read_text()}" + ("" if comment else "provenance: true\n")
        (project.root / "recipes/vehicle.yaml").write_text(text)
        ok(project, "build", RECIPE)
        inputs = statement(project.root / BESIDE)["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert inputs[0]["digest"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_an_attestation_of_another_image_is_refused(project: Project) -> None:
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--builder-id", "me", "-o", "old.json")
    (project.root / "rootfs/etc/new").write_text("new")
    refused = project.otabuild("attest", RECIPE, "--builder-id", "me")
    assert refused.code == 1
    assert "not what the recipe would make now" in refused.err
    ok(project, "build", RECIPE)
    done = project.otabuild("verify", "dist/vehicle.zip", *CA, "--provenance", "old.json")
    assert done.code == 1
    assert "about another image" in done.err


def test_only_trusted_signers_attest(project: Project) -> None:
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--builder-id", "me")
    verify = ("verify", "dist/vehicle.zip", *CA, "--provenance", BESIDE)
    ok(project, *verify)
    raw = bytearray((project.root / BESIDE).read_bytes())
    raw[len(raw) // 2] ^= 1
    (project.root / BESIDE).write_bytes(bytes(raw))
    assert project.otabuild(*verify).code == 1
    unsigned = project.otabuild("verify", "dist/vehicle.zip", "--no-signature", "--provenance", BESIDE)
    assert "needs a trust anchor" in unsigned.err


def test_the_bill_of_materials_is_attested_the_same_way(project: Project) -> None:
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--sbom")
    path = "dist/vehicle.zip.cdx.attestation.json"
    listed = json.loads(ok(project, "sbom", "dist/vehicle.zip"))
    assert statement(project.root / path)["predicate"] == listed
    assert "attested for this image" in ok(project, "verify", "dist/vehicle.zip", *CA, "--sbom", path)
    wrong = project.otabuild("verify", "dist/vehicle.zip", *CA, "--provenance", path)
    assert "says something else" in wrong.err


def test_a_signature_that_is_made_outside(project: Project) -> None:
    """In two steps, with openssl in the place of a key service."""
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--builder-id", "me", "--request", "request.json")
    request = json.loads((project.root / "request.json").read_bytes())
    (project.root / "signed").write_bytes(base64.b64decode(request["signing-input"]))
    sign = ["openssl", "dgst", "-sha256", "-sign", "pki/sign.key", "-out", "answer", "signed"]
    subprocess.run(sign, cwd=project.root, check=True)
    ok(project, "attest", RECIPE, "--builder-id", "me", "--answer", "answer")
    ok(project, "verify", "dist/vehicle.zip", *CA, "--provenance", BESIDE)
    other = project.otabuild("attest", RECIPE, "--builder-id", "somebody else", "--answer", "answer")
    assert other.code == 1
    assert "not a signature of the requested digest" in other.err


def test_a_directory_is_the_same_image(project: Project) -> None:
    project.edit("timestamp:", "output-dir: ../dist/image\ntimestamp:")
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--builder-id", "me")
    ok(project, "verify", "dist/image", *CA, "--provenance", BESIDE)


def test_it_is_rebuilt_from_what_was_recorded(project: Project) -> None:
    ok(project, "build", RECIPE)
    ok(project, "attest", RECIPE, "--builder-id", "me")
    assert "vehicle: reproduced" in ok(project, "repro", RECIPE, "--provenance", BESIDE)
    (project.root / "rootfs/etc/new").write_text("new")
    done = project.otabuild("repro", RECIPE, "--provenance", BESIDE)
    assert done.code == 1
    assert "differs: payload main/dev" in done.out
    assert "changed input: rootfs.main.source.0.directory" in done.out
