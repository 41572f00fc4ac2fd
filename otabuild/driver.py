"""Drives the build of a recipe: for Python (`api`), for doit (`tasks`) and for the commands.

doit runs the steps itself, in processes of its own. It shares the rest: what the steps are, and how
a run ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from otabuild import progress, session
from otabuild.pipeline.base_release import BaseSummary, summarize_base
from otabuild.pipeline.build_report import Made, report_path, write_report
from otabuild.pipeline.evict import evict
from otabuild.pipeline.run import Done, Planned, plan_steps, run_steps
from otabuild.pipeline.step import Step
from otabuild.pipeline.steps.artifact_step import ArtifactStep
from otabuild.pipeline.steps.built_image import beside
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.steps.sign_step import SignStep
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
from otabuild.recipe.model import Recipe


@dataclass(frozen=True)
class BuildDriver:
    """The build of a recipe in a workspace."""

    recipe: Recipe
    workspace: Workspace

    @classmethod
    def load(
        cls, recipe: Recipe | str | os.PathLike[str], workspace: Workspace | None = None
    ) -> Self:
        """Load a recipe, unless it is loaded.

        The default workspace is that of the project in the current folder.

        Raises:
            RecipeError: the recipe cannot be loaded.
            InputError: the settings of the project cannot be used.
        """
        loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        return cls(loaded, workspace or session.make_workspace())

    def locked(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the lock of the work directory for a while; see `session.locked`."""
        return session.locked(self.workspace.work, wait=wait)

    @cached_property
    def steps(self) -> list[Step[Any, Any]]:
        """The steps from inputs to artifact; errors as for `build_steps`."""
        return build_steps(self.recipe, self.workspace)

    def plan(self) -> list[Planned]:
        """Return which steps would run and why; change nothing."""
        return plan_steps(self.steps)

    def plan_base(self) -> BaseSummary | None:
        """Return what the base of the recipe may give; errors as for `summarize_base`."""
        return summarize_base(self.recipe, self.workspace.now, self.workspace.warn)

    def run(self, tell: Callable[[str], None]) -> tuple[Made, list[Done]]:
        """Run every outdated step, and end the run.

        Callers hold the lock. Returns what was made, and what was done.

        Args:
            tell: called with a text for each step that runs, and why.

        Raises:
            OtabuildError: a step failed.
        """
        try:
            done = run_steps(self.steps, time.monotonic, tell)
            made = self.write_report(done)
            if done[-1].reasons:
                evict_unused(self.workspace)
        finally:
            progress.clear()
        return made, done

    def run_up_to_signature(self, tell: Callable[[str], None]) -> None:
        """Run the outdated ones of the steps that need no signature, as `run` does.

        Nothing is built, so nothing ends.
        """
        unsigned = [step for step in self.steps if not isinstance(step, SignStep | ArtifactStep)]
        try:
            run_steps(unsigned, time.monotonic, tell)
        finally:
            progress.clear()

    def artifact_reasons(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        """Run outdated steps before the artifact; return why it would be written anew, if it would.

        The artifact itself is not touched. Callers hold the lock.
        """
        earlier = [step for step in self.steps if not isinstance(step, ArtifactStep)]
        run_steps(earlier, time.monotonic, tell)
        return ArtifactStep(self.recipe, self.workspace).decide().reasons

    def write_report(self, done: Iterable[Done]) -> Made:
        """Write the report of a run beside what it made, and return that."""
        built = self.steps[-1].results()
        made = Made(self.recipe.output, built.sha256, built.index_json)
        write_report(report_path(beside(self.recipe, self.workspace)), made, done)
        return made


def evict_unused(workspace: Workspace) -> None:
    """Evict what exceeds the limit of a work directory, except what this run used."""
    evict(workspace, workspace.cache_limit, spare=workspace.now_ns)
