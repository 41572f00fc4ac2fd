"""Signatures made outside the pipeline, stored and attached; files for legacy clients; no key leaks."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from otabuild.errors import OtabuildError, StateError, TrustError
from otabuild.format.legacy_jwt import verify_legacy_jwt
from otabuild.pipeline.outside_signatures import match_answer
from otabuild.pipeline.steps.sign_step import SignStep
from otabuild.signing.signing_request import SigningRequest
from otabuild.storage import fs
from tests import pki
from tests.pipeline.signing_world import World, check, entries
from tests.pki import DAY, NOW, issue, signer
from tests.shared import REFERENCE, has_fixtures

LEGACY = "otaclient-package: {release-dir: release, legacy: true}\n"
FOLDER = "data/opt/ota/otaclient_release/"


def requests(world: World) -> tuple[SigningRequest, ...]:
    return world.step(SignStep).requests()


def kms(request: SigningRequest) -> bytes:
    """Answer like a key service: it sees only the digest, and its nonce is random."""
    call = json.loads(request.to_json())["aws-kms-sign"]
    der = signer().ec_key.sign(base64.b64decode(call["Message"]), ec.ECDSA(Prehashed(hashes.SHA256())))
    return json.dumps({"Signature": base64.b64encode(der).decode(), "SigningAlgorithm": "ECDSA_SHA_256"}).encode()


def take(world: World, answer: bytes) -> None:
    """Do what `sign-finish` does before it builds."""
    request, signature = match_answer(answer, requests(world), "answer")
    world.step(SignStep).known().keep(request.digest, signature)


def test_a_build_stops_before_the_signature_and_goes_on_with_the_answer(world: World) -> None:
    world.write("external")
    with pytest.raises(StateError, match="waiting for an external signature") as caught:
        world.build()
    assert "sign-prepare" in caught.value.hint
    assert world.built()[-1] == "sign"
    assert not world.artifact.exists()
    (request,) = requests(world)
    take(world, kms(request))
    world.build()
    assert [step for step in world.built() if step != "scan"] == ["sign", "build"]
    check(world.artifact)
    first = world.artifact.read_bytes()
    world.build()
    assert [step for step in world.built() if step != "scan"] == []
    (world.folder / "work/recipes/v/sign.stamp").unlink()  # signed again with the known signature
    assert world.build() == first


def test_another_signature_of_the_same_takes_the_place_of_the_first(world: World) -> None:
    world.write("external")
    with pytest.raises(StateError):
        world.build()
    take(world, kms(requests(world)[0]))
    first = world.build()
    take(world, kms(requests(world)[0]))  # ECDSA signatures are random
    assert world.build() != first
    assert [step for step in world.built() if step != "scan"] == ["sign", "build"]
    check(world.artifact)


def test_a_changed_image_needs_another_signature(world: World) -> None:
    world.write("external")
    with pytest.raises(StateError):
        world.build()
    (request,) = requests(world)
    (world.folder / "rootfs/etc/hostname").write_text("another\n")
    with pytest.raises(StateError):
        world.build()
    with pytest.raises(TrustError, match="not a signature of the requested digest") as caught:
        take(world, kms(request))
    assert "sign-prepare" in caught.value.hint
    with pytest.raises(StateError):
        world.build()


@pytest.mark.parametrize("answer", [b"", b"no signature", b"\0" * 64, b"a.b.c", b"{}"])
def test_answers_that_are_none(world: World, answer: bytes) -> None:
    world.write("external")
    with pytest.raises(StateError):
        world.build()
    with pytest.raises(OtabuildError):
        take(world, answer)


def test_a_damaged_stored_signature_is_not_used(world: World) -> None:
    world.write("external")
    with pytest.raises(StateError):
        world.build()
    (request,) = requests(world)
    take(world, kms(request))
    stored = world.folder / "work/recipes/v/signatures" / request.digest.hex()
    stored.write_bytes(stored.read_bytes()[:63] + b"\0")
    with pytest.raises(StateError, match="waiting for an external signature"):
        world.build()


def test_an_attached_signature_makes_a_clean_rebuild_equal_the_release(world: World) -> None:
    """Its signatures are random: without the stored tokens, nobody could build these bytes again."""
    world.release()
    world.write("external", more=LEGACY)
    with pytest.raises(StateError):
        world.build()
    for request in requests(world):
        take(world, kms(request))
    released = world.build()
    stored = entries(world.artifact)
    world.forget()
    with pytest.raises(StateError):
        world.build()
    for name in ("metadata.jwt", "index.jwt"):
        take(world, stored[name])
    assert world.build() == released


def test_a_token_of_another_image_is_not_attached(world: World) -> None:
    world.write()
    world.build()
    token = entries(world.artifact)["index.jwt"]
    (world.folder / "rootfs/etc/hostname").write_text("another\n")
    world.build()
    with pytest.raises(TrustError, match="for something else"):
        take(world, token)


# Legacy clients.


def test_legacy_files_are_there_and_verify(world: World) -> None:
    world.release()
    world.write(more=LEGACY)
    world.build()
    check(world.artifact)
    found = entries(world.artifact)
    assert {name.removeprefix(FOLDER): content for name, content in found.items() if name.startswith(FOLDER)} == {
        "": b"",
        **{path.name: path.read_bytes() for path in (world.folder / "release").iterdir()},
    }
    assert verify_legacy_jwt(found["metadata.jwt"], found["certificate.pem"]) == signer().certificate
    assert found["certificate.pem"] == signer().pem


def test_an_image_directory_has_them_too(world: World) -> None:
    world.release()
    world.write(more=f"{LEGACY}output-dir: dist/v\n")
    world.build()
    check(world.folder / "dist/v")
    artifact = {name: content for name, content in entries(world.artifact).items() if not name.endswith("/")}
    folder = world.folder / "dist/v"
    assert artifact == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def structure(artifact: Path) -> object:
    """Return header and claims of metadata.jwt without its only digest, and the names of the files."""
    with zipfile.ZipFile(artifact) as archive:
        token, certificate = archive.read("metadata.jwt"), archive.read("certificate.pem")
        names = [name for name in archive.namelist() if name.startswith("data/")]
        release = json.loads(archive.read(f"{FOLDER}manifest.json"))
    header, claims, _ = (base64.urlsafe_b64decode(part) for part in token.split(b"."))
    digest = hashlib.sha256(certificate).hexdigest()
    assert digest.encode() in claims
    files = {FOLDER + package["filename"] for package in release["packages"]} | {f"{FOLDER}manifest.json"}
    assert {name for name in names if not name.endswith("/")} == files
    folders = sorted(name for name in names if name.endswith("/"))
    return json.loads(header), json.loads(claims.replace(digest.encode(), b"")), folders


@has_fixtures
def test_legacy_files_equal_those_of_the_reference_in_structure(world: World) -> None:
    world.release()
    world.write(more=LEGACY)
    world.build()
    assert structure(world.artifact) == structure(REFERENCE)


# Nothing leaks.


def test_no_form_of_the_key_gets_anywhere(
    world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S21: outputs, messages, stamps, reports, and every temporary file just before its removal."""
    secret_key = issue("fresh", own_key=ec.generate_private_key(ec.SECP256R1())).ec_key
    party = issue("fresh", pki.intermediate(), own_key=secret_key)
    pem = party.key_pem(b"secret").decode()
    forms = [*pki.secrets(secret_key), *party.key_pem(b"secret").splitlines()[1:-1]]
    scanned = 0

    def scan(phase: str, operation: str, _path: str) -> None:
        nonlocal scanned
        if phase == "before" and operation in ("rename", "unlink", "exchange", "remove tree", "close"):
            for path, content in world.files().items():
                scanned += 1
                assert not [form for form in forms if form in content], path

    monkeypatch.setattr(fs, "observer", scan)
    world.release()
    world.environ = {"SIGN_KEY": pem, "PASSPHRASE": "secret", "WRONG": "wrong"}
    said: list[object] = []
    for passphrase, now in (("WRONG", NOW), ("PASSPHRASE", NOW - 2 * DAY), ("PASSPHRASE", NOW)):
        world.write(
            f"{{env: SIGN_KEY}}\n  passphrase: {{env: {passphrase}}}",
            parties=(party, pki.intermediate()),
            more=f"{LEGACY}output-dir: dist/v\n",
        )
        (world.folder / "sign.key").unlink()
        world.now = now
        try:
            world.build()
        except OtabuildError as error:
            said += [str(error), repr(error), vars(error), error.__cause__]
    assert world.artifact.exists()
    said += [world.told, world.warnings, *capfd.readouterr()]
    assert scanned
    scan("before", "rename", "")
    assert not [form for form in forms if form in repr(said).encode()]
