"""Builds from Python, without doit as the front end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from otabuild.driver import BuildDriver
from otabuild.pipeline.own_steps import no_rootfs, own_steps
from otabuild.pipeline.run import Done
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe


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
