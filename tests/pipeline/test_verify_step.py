"""The verify step of a recipe: when it runs again, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import NotVerifiedError, RecipeError, TrustError
from otabuild.pipeline.steps.deploy_step import DeployStep
from otabuild.pipeline.steps.verify_step import VerifyStep
from tests import pki
from tests.pipeline.signing_world import World
from tests.pki import Party, intermediate, root, signer
from tests.verification.tampering import without_rule


def revoke(world: World, revoked: Sequence[Party]) -> None:
    (world.folder / "ca.crl").write_bytes(pki.crl(intermediate(), revoked).public_bytes(Encoding.PEM))
    (world.folder / "root.crl").write_bytes(pki.crl(root()).public_bytes(Encoding.PEM))


@pytest.fixture
def step(world: World) -> VerifyStep:
    """The verify step of a signed image after its first run; the recipe has revocation lists without entries."""
    world.write(verify=", crl: [ca.crl, root.crl]")
    revoke(world, [])
    world.build()
    step = world.step(VerifyStep)
    step.execute()
    assert step.decide().reasons == ()
    return step


def test_a_new_revocation_list_is_a_reason_to_verify_again(world: World, step: VerifyStep) -> None:
    revoke(world, [signer()])
    assert step.decide().reasons == ("changed: whom to trust",)
    with pytest.raises(NotVerifiedError, match="revoked"):
        step.execute()


def test_each_finding_has_a_line(world: World, step: VerifyStep) -> None:
    raw = bytearray(world.artifact.read_bytes())
    raw[len(raw) // 2] ^= 1
    world.artifact.write_bytes(raw)
    revoke(world, [signer()])
    with pytest.raises(NotVerifiedError) as caught:
        step.execute()
    lines = str(caught.value).splitlines()
    assert lines[0] == "dist/v.zip: the image is not valid"
    assert len(lines) > 2
    assert all(line.startswith(("  error: ", "  note: ", "    hint: ")) for line in lines[1:])


def test_a_resource_that_no_payload_needs_is_a_note(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients ignore such a row, so an image of another builder is not refused for it."""
    world.write()
    (world.folder / "more").mkdir()
    (world.folder / "more/file").write_text("in no payload" * 100)
    spare = '  spare: {source: {directory: more}, base-image: "test:1", architecture: x86_64, owner: "0:0"}\npayloads'
    path = world.folder / "v.yaml"
    path.write_text(path.read_text().replace("payloads", spare))
    without_rule(monkeypatch, "recipe.unused")  # otabuild does not build such an image
    world.build()
    notes = world.step(VerifyStep).execute().counts["notes"]
    assert any("needed by no payload" in note for note in notes)


def _unsigned(world: World, verify: str) -> VerifyStep:
    world.write(None)
    path = world.folder / "v.yaml"
    path.write_text(path.read_text().replace("verify: {trust: [root.pem]}\n", verify))
    world.build()
    return world.step(VerifyStep)


@pytest.mark.parametrize(
    "verify", ["", "verify: {trust: [root.pem]}\n", "verify: {unsigned: false, trust: [root.pem]}\n"]
)
def test_an_image_without_a_signature_fails(world: World, verify: str) -> None:
    with pytest.raises(TrustError, match="NOT SIGNED") as caught:
        _unsigned(world, verify).execute()
    assert "unsigned: true" in caught.value.hint


def test_an_image_that_is_meant_to_have_none_is_verified_and_told(world: World) -> None:
    step = _unsigned(world, "verify: {unsigned: true}\n")
    assert any("NOT SIGNED" in str(note) for note in step.execute().counts["notes"])
    assert any("NOT SIGNED" in warning for warning in world.warnings)
    world.step(DeployStep).execute()
    raw = bytearray(world.artifact.read_bytes())
    raw[len(raw) // 2] ^= 1
    world.artifact.write_bytes(raw)
    with pytest.raises(NotVerifiedError):
        step.execute()


@pytest.mark.parametrize(
    ("key", "verify"),
    [
        ("{file: sign.key}", ", unsigned: true"),
        ("external", ", unsigned: true"),
    ],
)
def test_a_signed_image_is_not_verified_as_unsigned(world: World, key: str, verify: str) -> None:
    world.write(key, verify=verify)
    with pytest.raises(RecipeError, match="but the recipe signs the image"):
        world.build()


def test_who_is_trusted_has_to_be_said(world: World) -> None:
    with pytest.raises(RecipeError, match="does not say whom to trust"):
        _unsigned(world, "verify: {eku: strict}\n")
