"""A recipe without `output`: no artifact is written, and the image goes from the work directory into the store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import otabuild
from otabuild import cli
from otabuild.errors import OtabuildError, StateError
from otabuild.format.statement import PROVENANCE
from otabuild.image.image import open_image
from otabuild.pipeline.steps.artifact_step import ArtifactStep
from otabuild.pipeline.steps.deploy_step import DeployStep
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.pipeline.steps.roundtrip_step import RoundtripStep
from otabuild.pipeline.steps.sign_step import SignStep
from otabuild.pipeline.steps.verify_step import VerifyStep
from otabuild.releases.publish import Published
from otabuild.signing.attestation import verify_attestation
from otabuild.verification.attested import check_subjects
from tests import pki
from tests.pipeline.signing_world import World
from tests.pki import signer

PUBLISH = 'publish: {store: store, name: "1.0"}\n'


def write(world: World, key: str | None = "{file: sign.key}", more: str = "") -> None:
    """Write a recipe that publishes and has no output."""
    world.write(key, more=PUBLISH + more)
    recipe = world.folder / "v.yaml"
    recipe.write_text(recipe.read_text().replace("output: dist/v.zip\n", ""))


def build(world: World) -> otabuild.BuildResult:
    return otabuild.build(world.recipe, workspace=world.workspace)


def publish(world: World) -> Published:
    build(world)
    return world.step(PublishStep).execute().results


def pulled(world: World) -> bytes:
    """Return the release as an artifact."""
    with open_image("store/releases/1.0") as image:
        otabuild.pull(image, "pulled.zip", world.now, workers=1)
    return Path("pulled.zip").read_bytes()


def test_the_release_is_what_an_artifact_would_have_had(world: World) -> None:
    world.write()
    artifact = world.build()
    world.forget()
    write(world)
    made = build(world)
    assert (made.artifact, made.sha256, made.size) == (None, None, None)
    done = world.step(PublishStep).execute().results
    assert done.digest == f"sha256:{made.index_json}"
    assert not Path("dist").exists()
    assert not list(world.folder.rglob("*.zip"))
    assert pulled(world) == artifact


def test_legacy_files_are_published(world: World) -> None:
    world.release()
    world.write(more="otaclient-package: {release-dir: release, legacy: true}\n")
    artifact = world.build()
    write(world, more="otaclient-package: {release-dir: release, legacy: true}\n")
    publish(world)
    assert pulled(world) == artifact


def test_every_check_reads_the_work_directory(world: World) -> None:
    write(world)
    build(world)
    for kind in (VerifyStep, DeployStep, RoundtripStep):
        world.step(kind).execute()
        assert world.step(kind).decide().reasons == ()
    (world.folder / "rootfs/etc/hostname").write_text("other\n" * 100)
    build(world)
    assert world.step(VerifyStep).decide().reasons == ("changed: artifact",)


def harm(world: World) -> None:
    """Change a byte in every pack of the cache."""
    for pack in (world.folder / "work/cache/packs").iterdir():
        raw = bytearray(pack.read_bytes())
        raw[len(raw) // 2] ^= 1
        pack.write_bytes(raw)


@pytest.mark.parametrize("kind", [PublishStep, VerifyStep, DeployStep])
@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_what_the_work_directory_lost_is_made_again(
    world: World, kind: type[PublishStep | VerifyStep | DeployStep], how: str
) -> None:
    write(world)
    build(world)
    if how == "damaged":
        harm(world)
    else:
        shutil.rmtree(world.folder / "work/cache")
    world.step(kind).execute()
    assert any("a stored blob is missing or damaged" in warning for warning in world.warnings)
    publish(world)
    with open_image("store/releases/1.0") as image:
        assert otabuild.verify(image, otabuild.TrustPolicy(anchors=pki.anchors()), world.now).ok


def test_a_signature_from_outside_is_waited_for(world: World) -> None:
    write(world, "external")
    with pytest.raises(StateError, match="waiting for an external signature"):
        otabuild.publish(world.recipe, workspace=world.workspace)
    assert not Path("store").exists()
    step = world.step(SignStep)
    (request,) = step.requests()
    step.known().keep(request.digest, pki.raw_signature(signer().ec_key, request.signing_input))
    assert otabuild.publish(world.recipe, workspace=world.workspace).uploaded > 0


def test_documents_are_written_beside_the_work_directory(world: World) -> None:
    world.environ = {"OTABUILD_BUILDER_ID": "https://builder.example.com"}
    write(world, more="provenance: true\nsbom: {format: cyclonedx}\n")
    build(world)
    assert sorted(path.name for path in Path("release").iterdir()) == [
        "v.cdx.json",
        "v.provenance.json",
        "v.report.json",
    ]
    policy = otabuild.TrustPolicy(anchors=pki.anchors())
    raw = Path("release/v.provenance.json").read_bytes()
    subjects = verify_attestation(raw, "v", PROVENANCE, policy, world.now).statement.subject
    assert [subject.name for subject in subjects] == ["index.json", "payload main/dev"]


def test_documents_are_carried_along(world: World) -> None:
    world.environ = {"OTABUILD_BUILDER_ID": "https://builder.example.com"}
    write(world, more="provenance: true\nsbom: {format: cyclonedx}\n")
    assert publish(world).documents == (".cdx.json", ".provenance.json")
    pulled(world)
    for suffix in (".cdx.json", ".provenance.json"):
        assert Path(f"pulled.zip{suffix}").read_bytes() == Path(f"release/v{suffix}").read_bytes()
    policy = otabuild.TrustPolicy(anchors=pki.anchors())
    raw = Path("pulled.zip.provenance.json").read_bytes()
    statement = verify_attestation(raw, "v", PROVENANCE, policy, world.now).statement
    with open_image("pulled.zip") as image:
        check_subjects(statement, image, "v")


def test_a_step_after_the_build_needs_an_artifact(world: World) -> None:
    from otabuild.pipeline import own_steps

    write(world)
    with pytest.raises(StateError, match=r"notes:v: this step needs an artifact"):
        own_steps.artifact_for(world.recipe, "notes")


def test_an_image_directory_can_be_written_alone(world: World) -> None:
    write(world, more="output-dir: image\n")
    build(world)
    assert world.step(ArtifactStep).outputs == ("image",)
    with open_image("image") as image:
        assert image.index_raw


def test_a_recipe_without_output_and_store_is_refused(world: World) -> None:
    world.write()
    recipe = world.folder / "v.yaml"
    recipe.write_text(recipe.read_text().replace("output: dist/v.zip\n", ""))
    with pytest.raises(OtabuildError, match=r"v\.yaml:1:1: output: a required key is missing"):
        build(world)


def test_commands_say_what_they_made(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    write(world, None)
    recipe = world.folder / "v.yaml"
    recipe.write_text(recipe.read_text().replace("trust: [root.pem]", "unsigned: true"))
    assert cli.main(["build", "v.yaml"]) == 0
    assert capsys.readouterr().out.startswith("ready to be published  index.json sha256:")
    assert cli.main(["publish", "v.yaml"]) == 0
    assert capsys.readouterr().out.startswith("1.0  uploaded ")
