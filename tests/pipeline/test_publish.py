"""A recipe says where its image is published, and a step publishes it there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import otabuild
from otabuild.errors import NotVerifiedError, OtabuildError, StateError
from otabuild.image.image import open_image
from otabuild.pipeline.steps.graph import check_steps
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.releases.listing import list_store
from otabuild.releases.publish import Published
from otabuild.stores.open_store import open_store
from otabuild.verification.verify import verify
from tests import pki
from tests.leaks import nothing_left
from tests.pipeline.signing_world import World

PUBLISH = 'publish: {store: store, name: "1.0"}\n'


def published(world: World) -> Published:
    world.build()
    return world.step(PublishStep).execute().results


def is_valid(world: World, place: str = "store/releases/1.0") -> bool:
    with open_image(place) as image:
        return verify(image, otabuild.TrustPolicy(anchors=pki.anchors()), world.now).ok


def test_the_image_becomes_a_release(world: World) -> None:
    world.write(more=PUBLISH)
    done = published(world)
    assert (done.name, done.was_there) == ("1.0", False)
    assert done.uploaded == done.blobs > 0
    assert is_valid(world)


@pytest.mark.parametrize("without", ["", "output: dist/v.zip\n"], ids=["artifact", "no artifact"])
def test_publishing_leaves_no_table_open(without: str, world: World) -> None:
    world.write(more=PUBLISH)
    recipe = world.folder / "v.yaml"
    recipe.write_text(recipe.read_text().replace(without, ""))
    with nothing_left():
        assert otabuild.publish(world.recipe, workspace=world.workspace).uploaded


def test_publishing_again_asks_the_store_again(world: World) -> None:
    world.write(more=PUBLISH)
    published(world)
    step = world.step(PublishStep)
    assert step.decide().reasons == ("others may have changed the store",)
    assert step.execute().results.was_there
    (world.folder / "rootfs/etc/hostname").write_text("other\n" * 100)
    with pytest.raises(StateError, match=r"v\.yaml:.*publish\.store: store: 1\.0: .*never changes"):
        published(world)


def test_a_recipe_without_a_store_has_no_step(world: World) -> None:
    world.write()
    assert "publish" not in {step.kind for step in check_steps(world.recipe, world.workspace)}
    with pytest.raises(StateError, match="does not say where to publish"):
        published(world)


def test_an_unsigned_image_is_published_if_it_is_meant_to_be_unsigned(world: World) -> None:
    world.write(None, verify=", unsigned: true", more=PUBLISH)
    published(world)
    with open_image("store/releases/1.0") as image:
        assert image.token_raw is None


def test_a_store_in_a_rootfs_is_refused(world: World) -> None:
    world.write(more=PUBLISH.replace("store: store", "store: rootfs/store"))
    with pytest.raises(OtabuildError, match=r"v\.yaml:\d+:\d+: publish\.store: is inside rootfs\.main\.source"):
        world.build()


def test_a_store_that_cannot_be_opened_is_found_before_any_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTABUILD_TIMEOUT", "soon")
    world.write(more=PUBLISH.replace("store: store", "store: s3://bucket"))
    with pytest.raises(OtabuildError, match=r"v\.yaml:\d+:\d+: publish\.store: s3://bucket: OTABUILD_TIMEOUT: not a"):
        world.build()
    assert world.built() == ["preflight"]


@pytest.mark.parametrize("store", ["store", "store/below"])
def test_a_store_that_cannot_be_a_folder_is_found_before_any_work(world: World, store: str) -> None:
    (world.folder / "store").write_text("a file")
    world.write(more=PUBLISH.replace("store: store", f"store: {store}"))
    with pytest.raises(
        OtabuildError, match=r"v\.yaml:\d+:\d+: publish\.store: is inside something that is not a folder"
    ):
        world.build()
    assert world.built() == ["preflight"]


def test_an_image_that_is_not_valid_is_not_published(world: World) -> None:
    world.write(more=PUBLISH)
    world.build()
    raw = bytearray(world.artifact.read_bytes())
    raw[len(raw) // 2] ^= 1
    world.artifact.write_bytes(raw)
    with pytest.raises(NotVerifiedError) as caught:
        world.step(PublishStep).execute()
    assert "publish.store" not in str(caught.value)
    assert not Path("store").exists()


def test_from_python_by_a_recipe(world: World) -> None:
    world.write(more=PUBLISH)
    assert otabuild.publish(world.recipe, workspace=world.workspace).name == "1.0"
    assert otabuild.publish(world.recipe, "other", "2.0", workspace=world.workspace).name == "2.0"
    assert is_valid(world)
    assert is_valid(world, "other/releases/2.0")


def test_the_store_and_the_name_of_a_recipe_without_them(world: World) -> None:
    world.write(more='annotations: {project: {version: "3.1"}}\n')
    assert otabuild.publish(world.recipe, "store", workspace=world.workspace).name == "3.1"
    world.write()
    with pytest.raises(OtabuildError, match="no name"):
        otabuild.publish(world.recipe, "store", workspace=world.workspace)
    with pytest.raises(StateError, match="does not say where"):
        otabuild.publish(world.recipe, workspace=world.workspace)
    world.write(None)
    with pytest.raises(StateError, match="not signed"):
        otabuild.publish(world.recipe, "store", "4.0", workspace=world.workspace)
    assert otabuild.publish(world.recipe, "store", "4.0", unsigned=True, workspace=world.workspace).uploaded == 0
    with closing(open_store("store")) as store:
        assert [one.release.id.name for one in list_store(store).releases] == ["3.1", "4.0"]
