"""Names of recipes and rootfs that are also names of otabuild's own files."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.storage.lock import WorkLock
from tests.pipeline.signing_world import RECIPE, World, check


@pytest.mark.parametrize("name", ["resource_table", "storage", "leaves", "blobs", "main.tree", "rootfs"])
def test_a_rootfs_may_have_any_name(world: World, name: str) -> None:
    world.write()
    text = (world.folder / "v.yaml").read_text()
    more = f'{name}: {{source: {{directory: rootfs}}, base-image: "test:1", architecture: x86_64, owner: "0:0"}}\npayloads: ['
    text = text.replace("payloads: [", f"  {more}{{ecu: other, rootfs: {name}}}, ")
    (world.folder / "v.yaml").write_text(text)
    workspace = replace(world.workspace, workers=1)  # so that a table is compressed after others were written
    run_steps(build_steps(world.recipe, workspace), lambda: 0.0, lambda _text: None)
    check(world.artifact)


@pytest.mark.parametrize("name", ["cache", "archives", "lock", "recipes", "CACHEDIR.TAG", "v" * 100])
def test_a_recipe_may_have_any_name(world: World, name: str) -> None:
    lock = WorkLock("work")
    lock.acquire(started="now")
    (world.folder / "v.yaml").write_text(RECIPE)
    first = world.build()
    there = sorted(os.listdir("work"))
    (world.folder / "v.yaml").write_text(f"{RECIPE}name: {name}\n")
    assert world.build() == first
    assert sorted(os.listdir("work")) == there
    lock.release()
