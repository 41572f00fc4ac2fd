"""Inputs other than the rootfs: the next build notices changes in them, and errors in them are reported at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, NotVerifiedError, OtabuildError, RecipeError
from otabuild.image.image import open_image
from otabuild.pipeline.run import plan_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.steps.preflight_step import PreflightStep
from otabuild.pipeline.steps.verify_step import VerifyStep
from tests import pki
from tests.pipeline.signing_world import RECIPE, World
from tests.pki import intermediate, issue, key


@pytest.fixture
def old(world: World) -> World:
    """A world in which every file is old, so that only changed files are examined again."""
    world.now = int(time.time()) + 1000
    return world


def releases(world: World) -> None:
    """Two releases, `one` and `two`, as artifact and as folder; the recipe is left without a base."""
    for name in ("one", "two"):
        (world.folder / "rootfs/etc/release").write_text(name * 100)
        (world.folder / "v.yaml").write_text(f"{RECIPE}output-dir: {name}\n")
        world.build()
        shutil.copy(world.artifact, f"{name}.zip")


def test_a_base_behind_a_symlink_that_was_pointed_elsewhere(old: World) -> None:
    releases(old)
    Path("base.zip").symlink_to("one.zip")
    (old.folder / "v.yaml").write_text(f"{RECIPE}storage: {{base: base.zip}}\n")
    old.build()
    state = os.lstat("base.zip")
    Path("one.zip").write_bytes(Path("two.zip").read_bytes())
    assert os.lstat("base.zip") == state
    old.build()
    assert "store" in old.built()


@pytest.mark.parametrize("gone", ["base.zip", "0.pem"])
def test_a_plan_leaves_an_input_that_is_gone_to_the_preflight(old: World, gone: str) -> None:
    releases(old)
    shutil.copy("one.zip", "base.zip")
    old.write(more="storage: {base: base.zip}\n")
    old.build()
    Path(gone).unlink()
    with pytest.raises(RecipeError, match=gone):
        old.build()
    assert old.built() == ["preflight"]
    first, *others = plan_steps(build_steps(old.recipe, old.workspace))
    assert first.reasons
    assert all(step.reasons for step in others)


def test_a_base_that_is_a_folder_and_was_filled_anew(old: World) -> None:
    releases(old)
    (old.folder / "v.yaml").write_text(f"{RECIPE}storage: {{base: one}}\n")
    old.build()
    old.build()
    assert old.built() == []
    Path("one/index.json").write_bytes(Path("two/index.json").read_bytes())
    with pytest.raises(OtabuildError):  # the named file does not exist
        old.build()
    assert "store" in old.built()


@pytest.mark.parametrize("name", ["otaclient-arm64.squashfs", "otaclient-x86_64.squashfs", "otaclient-x86_64.patch"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_file_of_an_otaclient_release(old: World, name: str, damage: str) -> None:
    old.release()
    old.write(more="otaclient-package: {release-dir: release, legacy: true}\n")
    old.now = pki.NOW
    old.build()
    path = old.folder / "release" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(OtabuildError, match=name) as caught:
        old.build()
    assert isinstance(caught.value, IntegrityError) is (damage == "changed")
    if damage == "changed":
        assert re.match(r"v\.yaml:\d+:\d+: otaclient-package\.release-dir: ", caught.value.where)


def test_a_certificate_that_expired_a_second_ago(world: World) -> None:
    party = issue("signer", intermediate(), own_key=key("signer"), eku=[pki.CODE_SIGNING], not_after=world.now + 5)
    world.write(parties=(party, intermediate()))
    world.build()
    step = world.step(VerifyStep)
    step.execute()
    assert step.decide().reasons == ()
    world.now += 6
    for found in (world.step(PreflightStep), world.step(VerifyStep)):
        assert found.decide().reasons == ("since then a certificate or revocation list has expired or become valid",)
    with pytest.raises(NotVerifiedError, match="expired"):
        world.step(VerifyStep).execute()


@pytest.mark.parametrize("content", [None, b"hostname: 5\n", b"hostname: [\n", b"#" * (1 << 20) + b"\n"])
def test_a_sys_config_is_read_before_any_work(world: World, content: bytes | None) -> None:
    if content is None:
        Path("sys.yaml").mkdir()
    else:
        Path("sys.yaml").write_bytes(content)
    (world.folder / "v.yaml").write_text(RECIPE.replace("rootfs: main}", "rootfs: main, sys-config: sys.yaml}"))
    with pytest.raises(OtabuildError, match=r"^v\.yaml:6:\d+: payloads\[0\]\.sys-config: sys\.yaml"):
        world.build()
    assert world.built() == ["preflight"]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (r'NAME="Foo \"Bar\" \$x"', 'Foo "Bar" $x'),
        ("NAME='single quotes'", "single quotes"),
        ("NAME=plain", "plain"),
        ("NAME=two words", "two words"),
        ('NAME="no end', '"no end'),
        ("NAME=", None),
        ('NAME=""', None),
        ("# NAME=comment", None),
    ],
)
def test_os_release_is_read_as_a_shell_does(world: World, line: str, read: str | None) -> None:
    (world.folder / "rootfs/etc/os-release").write_text(f"ID=x\n{line}\nVERSION_ID=\n")
    (world.folder / "v.yaml").write_text(RECIPE)
    world.build()
    with open_image(str(world.artifact)) as image:
        config = image.payload("main").config.to_value()
    assert (config.get("os"), config.get("os.version")) == (read, None)


@pytest.mark.parametrize("kind", ["scan.main", "store", "tables", "index", "build"])
def test_a_stamp_that_lost_its_results_counts_for_nothing(old: World, kind: str) -> None:
    (old.folder / "v.yaml").write_text(RECIPE)
    old.build()
    path = Path(f"work/recipes/v/{kind}.stamp")
    path.write_text(json.dumps({**json.loads(path.read_text()), "results": {}}))
    old.build()
    assert old.built() == [kind.partition(".")[0]]
