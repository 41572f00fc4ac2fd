"""Attestations by each kind of signer of an image: of how it was made, and of what is in it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otabuild.errors import StateError, TrustError
from otabuild.format.statement import PROVENANCE, SBOM
from otabuild.image.image import open_image
from otabuild.pipeline.builder import BUILDER
from otabuild.pipeline.signers import PKCS11_MODULE
from otabuild.pipeline.steps.attesting import attest, provenance_statement, request, sbom_statement, with_answer
from otabuild.pipeline.steps.sign_step import SignStep
from otabuild.signing.attestation import verify_attestation
from otabuild.signing.trust import TrustPolicy
from otabuild.verification.attested import check_subjects
from tests import pki
from tests.pipeline.signing_world import World
from tests.softhsm import MODULE, PIN, needs_token

MORE = "sbom: {format: cyclonedx}\n"
TOKEN = '{pkcs11: "pkcs11:token=my%20token;object=sign"}\n  passphrase: {env: PIN}'
KEYS = {
    "file": "{file: sign.key}",
    "variable": "{env: KEY}",
    "program": "{command: [openssl, pkeyutl, -sign, -inkey, sign.key]}",
    "token": TOKEN,
}


def signed(text: bytes) -> bytes:
    return pki.raw_signature(pki.signer().ec_key, text)


def openssl_verifies(envelope: bytes, folder: Path) -> None:
    """Check a signature with an implementation that shares nothing with ours, on bytes put together here."""
    value = json.loads(envelope)
    payload, kind = base64.b64decode(value["payload"]), value["payloadType"].encode()
    (folder / "signed").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (folder / "signature").write_bytes(base64.b64decode(value["signatures"][0]["sig"]))
    key = pki.signer().ec_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(key)
    check = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"]
    assert subprocess.check_output(check, cwd=folder) == b"Verified OK\n"


def check(world: World, envelope: bytes, kind: str) -> None:
    found = verify_attestation(envelope, "file", kind, TrustPolicy(anchors=pki.anchors()), pki.NOW)
    assert len(found.signature.chain) == 2, "the authority between root and signer comes along"
    with open_image(world.artifact) as image:
        check_subjects(found.statement, image, "file")
    openssl_verifies(envelope, world.folder)


@pytest.mark.parametrize("kind", [*list(KEYS)[:-1], pytest.param("token", marks=[needs_token])])
def test_the_signer_of_the_image_attests(world: World, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "token":
        request.getfixturevalue("softhsm")
    world.write(KEYS[kind], more=f"{MORE}provenance: true\n")
    pem = pki.signer().key_pem().decode()
    world.environ = {BUILDER: "https://ci.example/7", "PIN": PIN, "KEY": pem, PKCS11_MODULE: str(MODULE)}
    world.build()
    check(world, Path(f"{world.artifact}.provenance.json").read_bytes(), PROVENANCE)
    check(world, attest(world.recipe, world.workspace, sbom_statement(world.recipe, world.workspace)), SBOM)


@pytest.mark.parametrize("kind", [PROVENANCE, SBOM])
def test_a_key_service_attests_in_two_steps(world: World, kind: str) -> None:
    """As `sign-prepare` and `sign-finish` do for the image."""
    world.write("external", more=MORE)
    with pytest.raises(StateError):
        world.build()
    (of_image,) = world.step(SignStep).requests()
    world.step(SignStep).known().keep(of_image.digest, signed(of_image.signing_input))
    world.build()
    statement = (
        sbom_statement(world.recipe, world.workspace)
        if kind == SBOM
        else provenance_statement(world.recipe, world.workspace, "me")
    )
    with pytest.raises(StateError, match="made outside"):
        attest(world.recipe, world.workspace, statement)
    asked = request(world.recipe, world.workspace, statement, "file")
    envelope = with_answer(asked, statement, signed(asked.signing_input), "answer")
    check(world, envelope, kind)
    other = pki.raw_signature(pki.intermediate().ec_key, asked.signing_input)
    with pytest.raises(TrustError, match="not a signature of the requested digest"):
        with_answer(asked, statement, other, "answer")
