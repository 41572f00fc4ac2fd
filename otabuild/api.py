"""Builds and publishes from Python, without doit as the front end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from otabuild import progress as shown
from otabuild.driver import BuildDriver
from otabuild.errors import InputError
from otabuild.image.image import open_image
from otabuild.pipeline.own_steps import artifact_for, no_rootfs, own_steps
from otabuild.pipeline.run import Done
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import PublishRecipe, Recipe
from otabuild.recipe.sign import VerifyRecipe
from otabuild.releases.checked_image import default_name
from otabuild.releases.publish import Published
from otabuild.releases.publish_image import publish_image
from otabuild.tally import Progress


@dataclass(frozen=True)
class BuildResult:
    """What was built, or is up to date.

    Attributes:
        artifact: its path; None if the recipe writes none, because it is only published.
        sha256: of the artifact, as hex, or None.
        size: of the artifact in bytes, or None.
        steps: what was done.
        index_json: the SHA-256 of index.json, as hex; in a store it is the digest of the release.
    """

    artifact: str | None
    sha256: str | None
    size: int | None
    steps: tuple[Done, ...]
    index_json: str

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
        StateError: another build is running in the same directory, or a product's own step is for a
            missing rootfs.
        OtabuildError: a step failed.
    """
    driver = BuildDriver.load(recipe, workspace)
    loaded = driver.recipe
    own = own_steps()
    before = {
        rootfs: function
        for (name, rootfs), function in own.before_scan.items()
        if name == loaded.name
    }
    for rootfs in before.keys() - loaded.rootfs.keys():
        raise no_rootfs(loaded.name, rootfs, loaded.rootfs)
    with driver.locked(wait=wait):
        for function in before.values():
            function()
        made, done = driver.run(tell)
        for (name, step), after in own.after_build.items():
            if name == loaded.name:
                after(artifact_for(loaded, step))
    return BuildResult(made.artifact, made.sha256, made.size, tuple(done), made.index_json)


def publish(
    image: Recipe | str | os.PathLike[str],
    store: str | None = None,
    name: str | None = None,
    *,
    unsigned: bool = False,
    wait: Callable[[str], None] | None = None,
    progress: Callable[[str], Progress] = lambda _what: lambda _done, _total: None,
    workspace: Workspace | None = None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Published:
    """Verify an image, and publish it as a release in a store; upload only what the store lacks.

    Args:
        image: an image directory or an artifact; or a recipe, or its path (`*.yaml`), which is
            built first.
        store: a folder, or a URL of one, of a bucket or of a web server; default: as the recipe
            says.
        name: of the release; default: as the recipe says, or the version that index.json tells.
        unsigned: also publish an image that is not signed.
        wait: called with who prunes, as long as somebody does, before every look; by default that
            is an error.
        progress: returns what is called with bytes done and their total, for `verify` and for
            `upload`.
        workspace: of a recipe; default: that of the project in the current folder.
        tell: called with a text for each step of a recipe that runs, and why.

    Raises:
        InputError: the image, the store or the name is none.
        NotVerifiedError: the image is not valid.
        StateError: it is not signed; other bytes have this name; or somebody is pruning the store.
        StoreError: the store failed; the next call goes on from there.
        OtabuildError: the recipe cannot be built.
    """

    def pause(why: str) -> bool:
        if wait is not None:
            wait(why)
        return wait is not None

    if isinstance(image, Recipe) or os.fspath(image).endswith((".yaml", ".yml")):
        driver = BuildDriver.load(image, workspace)
        if wait is not None:
            driver = replace(driver, workspace=replace(driver.workspace, pause=pause))
        return _publish_recipe(driver, _with(driver.recipe, store, name, unsigned=unsigned), tell)
    if store is None:
        raise InputError(
            "no store", where=image, hint="name a store, or a recipe that says where to publish"
        )
    with open_image(image) as opened:
        name = name or default_name(opened)
        if name is None:
            raise InputError(
                "the image has no version that could be the name of the release",
                where=image,
                hint=(
                    "give one with --name, or `annotations: {project: {version: …}}` in its recipe"
                ),
            )
        return publish_image(
            opened, store, name, int(time.time()), unsigned=unsigned, pause=pause, progress=progress
        )


def _publish_recipe(driver: BuildDriver, release: Recipe, tell: Callable[[str], None]) -> Published:
    """Build a recipe, and publish its image as another recipe says."""
    with driver.locked():
        build(driver.recipe, workspace=driver.workspace, tell=tell)
        try:
            return PublishStep(release, driver.workspace).execute().results
        finally:
            shown.clear()


def _with(recipe: Recipe, store: str | None, name: str | None, *, unsigned: bool) -> Recipe:
    """Return a recipe in which arguments override what it says about publishing."""
    publish, verify = recipe.publish, recipe.verify
    if store is not None or (publish is not None and name is not None):
        name = name or (publish.name if publish else recipe.annotations.project.version)
        if name is None:
            hint = (
                "give one with --name, or `publish: {name: …}` or `annotations: {project: "
                "{version: …}}` in the recipe"
            )
            raise InputError("the recipe has no name for the release", where=recipe.file, hint=hint)
        store = store or (publish.store if publish else "")
        publish = PublishRecipe.model_construct(store=store, name=name)
    if unsigned:
        verify = VerifyRecipe.model_construct(
            **{**(verify.__dict__ if verify else {}), "unsigned": True}
        )
    return recipe.model_copy(update={"publish": publish, "verify": verify})
