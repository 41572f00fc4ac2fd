"""A recipe in a workspace: the locations of the output of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from otabuild.pipeline.step import Key, Outcome, Results, Step, read_results
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe


@dataclass(frozen=True)
class Job:
    """A recipe and the workspace in which it is built."""

    recipe: Recipe
    workspace: Workspace

    def path(self, name: str) -> str:
        """Return the path of an intermediate file of the recipe."""
        return os.path.join(self.workspace.folder(self.recipe.name), name)

    def rootfs_path(self, rootfs: str, kind: str) -> str:
        """Return the path of an intermediate file of a rootfs, in its own folder because a rootfs may have any name."""
        return self.path(os.path.join("rootfs", f"{rootfs}.{kind}"))

    def name(self, kind: str, part: str = "") -> str:
        """Return the name of a step, such as `scan:vehicle/main`."""
        return f"{kind}:{self.recipe.name}" + (f"/{part}" if part else "")

    def results(self, kind: str, part: str = "") -> Results:
        """Return the results of an earlier step.

        Raises:
            InputError: it has not run yet.
        """
        return read_results(self._stamp(kind, part), self.name(kind, part))

    def step(
        self,
        kind: str,
        part: str = "",
        *,
        doc: str,
        after: tuple[str, ...],
        key: Callable[[], Key],
        run: Callable[[], Outcome],
        outputs: tuple[str, ...] = (),
        clean: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
    ) -> Step:
        """Make a step of this recipe."""

        def run_prepared() -> Outcome:
            self.workspace.prepare(self.recipe.name)
            return run()

        return Step(
            name=self.name(kind, part),
            doc=doc,
            stamp=self._stamp(kind, part),
            after=after,
            key=key,
            outputs=outputs,
            run=run_prepared,
            clean=(*outputs, *clean),
            targets=targets,
            now=self.workspace.now,
        )

    def _stamp(self, kind: str, part: str) -> str:
        return self.path(f"{kind}.{part}.stamp" if part else f"{kind}.stamp")
