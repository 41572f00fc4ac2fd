"""Builds from Python, without doit as the front end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from otabuild import session
from otabuild.pipeline.build_report import write_report
from otabuild.pipeline.evict import keep_within
from otabuild.pipeline.own_steps import no_rootfs, own_steps
from otabuild.pipeline.run import Done, run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
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
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    workspace = workspace or session.make_workspace()
    own = own_steps()
    before = {rootfs: function for (name, rootfs), function in own.before_scan.items() if name == loaded.name}
    for rootfs in before.keys() - loaded.rootfs.keys():
        raise no_rootfs(loaded.name, rootfs, loaded.rootfs)
    with session.locked(workspace.work, wait=wait):
        for function in before.values():
            function()
        done = run_steps(build_steps(loaded, workspace), time.monotonic, tell)
        sha256 = str(done[-1].results.sha256)
        write_report(loaded.output, sha256, done)
        if done[-1].reasons:
            keep_within(workspace, workspace.cache_limit, spare=workspace.now_ns)
        for (name, _step), after in own.after_build.items():
            if name == loaded.name:
                after(loaded.output)
    return BuildResult(loaded.output, sha256, os.path.getsize(loaded.output), tuple(done))
