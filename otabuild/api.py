"""Builds and publishes from Python, without doit as the front end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from otabuild.driver import BuildDriver
from otabuild.errors import InputError
from otabuild.image.image import open_image
from otabuild.pipeline.own_steps import no_rootfs, own_steps
from otabuild.pipeline.run import Done
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.releases import publish as publishing
from otabuild.releases.checked_image import checked_contents, default_name
from otabuild.releases.publish import Published
from otabuild.stores.open_store import open_store
from otabuild.tally import Progress


@dataclass(frozen=True)
class BuildResult:
    """The built or up-to-date artifact: its path, its SHA-256 as hex, its size in bytes, and the steps."""

    artifact: str
    sha256: str
    size: int
    steps: tuple[Done, ...]

    @property
    def changed(self) -> bool:
        """Whether any step ran."""
        return any(step.reasons for step in self.steps)


def build(
    recipe: Recipe | str | os.PathLike[str],
    *,
    workspace: Workspace | None = None,
    wait: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
) -> BuildResult:
    """Build the artifact of a recipe; only outdated steps run.

    Args:
        recipe: a loaded recipe, or the path of a recipe.
        workspace: the workspace; default: that of the project in the current folder.
        wait: wait while another build is running in the same directory.
        tell: called with a text for each step that runs, and why.

    Raises:
        RecipeError: the recipe cannot be loaded.
        StateError: another build is running in the same directory, or a product's own step is for a missing rootfs.
        OtabuildError: a step failed.
    """
    driver = BuildDriver.load(recipe, workspace)
    loaded = driver.recipe
    own = own_steps()
    before = {rootfs: function for (name, rootfs), function in own.before_scan.items() if name == loaded.name}
    for rootfs in before.keys() - loaded.rootfs.keys():
        raise no_rootfs(loaded.name, rootfs, loaded.rootfs)
    with driver.locked(wait=wait):
        for function in before.values():
            function()
        done = driver.run(tell)
        for (name, _step), after in own.after_build.items():
            if name == loaded.name:
                after(loaded.output)
    return BuildResult(loaded.output, done[-1].results.sha256, os.path.getsize(loaded.output), tuple(done))


def publish(
    image: str | os.PathLike[str],
    store: str,
    name: str | None = None,
    *,
    unsigned: bool = False,
    wait: Callable[[str], None] | None = None,
    progress: Callable[[str], Progress] = lambda _what: lambda _done, _total: None,
) -> Published:
    """Publish an image as a release in a store; it is verified first, and only what the store lacks is uploaded.

    Args:
        image: an image directory or an artifact.
        store: a folder, or a URL of one, of a bucket or of a web server.
        name: of the release; default: the version that index.json tells.
        unsigned: also publish an image that is not signed.
        wait: called with who prunes, as long as somebody does, before every look; by default that is an error.
        progress: returns what is called with bytes done and their total, for `verify` and for `upload`.

    Raises:
        InputError: the image, the store or the name is none.
        NotVerifiedError: the image is not valid.
        StateError: it is not signed; other bytes have this name; or somebody is pruning the store.
        StoreError: the store failed; the next call goes on from there.
    """

    def pause(why: str) -> bool:
        if wait is not None:
            wait(why)
        return wait is not None

    with open_image(image) as opened:
        name = name or default_name(opened)
        if name is None:
            raise InputError(
                "the image has no version that could be the name of the release", where=image, hint="--name"
            )
        contents = checked_contents(opened, int(time.time()), unsigned=unsigned, progress=progress("verify"))
        with closing(open_store(store)) as opened_store:
            return publishing.publish(opened_store, name, contents, pause=pause, progress=progress("upload"))
