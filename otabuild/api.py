"""Building from Python, without doit at the front."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from otabuild import session
from otabuild.pipeline.own_steps import own_steps
from otabuild.pipeline.report import write_report
from otabuild.pipeline.run import Done, run_steps
from otabuild.pipeline.steps import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.progress import show_progress
from otabuild.recipe.load import load_recipe
from otabuild.recipe.model import Recipe


@dataclass(frozen=True)
class BuildResult:
    """An artifact that was built, or was up to date: its path, its SHA-256 as hex, its size in bytes, and the steps."""

    artifact: str
    sha256: str
    size: int
    steps: tuple[Done, ...]

    @property
    def changed(self) -> bool:
        """Whether any step had work to do."""
        return any(step.reasons for step in self.steps)


def build(
    recipe: Recipe | str | os.PathLike[str],
    *,
    workspace: Workspace | None = None,
    wait: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
) -> BuildResult:
    """Build the artifact of a recipe; does only what changed.

    Args:
        recipe: a loaded recipe, or the path of one.
        workspace: where to work; default: that of the project in the current folder.
        wait: wait while another build works in the same directory.
        tell: told of each step that runs, and why.

    Raises:
        RecipeError: the recipe cannot be loaded.
        OtabuildError: a step failed.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    workspace = workspace or session.make_workspace(session.load_settings(), show_progress)
    session.hold_lock(workspace.work, wait=wait)
    own = own_steps()
    for (name, _rootfs), function in own.before_scan.items():
        if name == loaded.name:
            function()
    done = run_steps(build_steps(loaded, workspace), time.monotonic, tell)
    write_report(loaded.output, done)
    if done[-1].reasons:
        session.limit_cache(workspace)
    for (name, _step), after in own.after_build.items():
        if name == loaded.name:
            after(loaded.output)
    return BuildResult(loaded.output, done[-1].results["sha256"], os.path.getsize(loaded.output), tuple(done))
